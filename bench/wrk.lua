-- What wrk sends and what it reports. Arguments: target, Host, "close" or "keep".
-- The request is built once, so that no Lua runs while the load does.

function init(args)
   wrk.path = args[1]
   wrk.headers["Host"] = args[2]
   if args[3] == "close" then
      wrk.headers["Connection"] = "close"
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nbench {"requests": %d, "microseconds": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
