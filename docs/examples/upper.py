def responseheaders(flow):
    flow.response.stream = lambda chunk: chunk.upper()
