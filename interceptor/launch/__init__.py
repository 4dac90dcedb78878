"""Commands that the proxy runs: started with what makes them use it and trust it."""
