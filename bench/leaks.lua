-- A mix of requests for wrk, all to one server past one proxy. Arguments: URL of the server,
-- "keep" or "close".

local requests = {}
local number = 0

local function add(times, method, path, headers, body)
   headers = headers or {}
   headers["Host"] = wrk.headers["Host"]
   headers["Connection"] = wrk.headers["Connection"]
   for _ = 1, times do
      requests[#requests + 1] = wrk.format(method, wrk.arguments[1] .. path, headers, body)
   end
end

function init(args)
   wrk.arguments = args
   wrk.headers["Host"] = args[1]:gsub("^http://", "")
   if args[2] == "close" then
      wrk.headers["Connection"] = "close"
   end
   local chunks = "400\r\n" .. string.rep("c", 1024) .. "\r\n3\r\nend\r\n0\r\n\r\n"
   -- wrk.format would add a length to a body.
   local function chunked(path)
      local head = wrk.format("POST", args[1] .. path, {
         ["Host"] = wrk.headers["Host"],
         ["Connection"] = wrk.headers["Connection"],
         ["Transfer-Encoding"] = "chunked",
      })
      return head .. chunks
   end
   add(40, "GET", "/1k")
   add(4, "GET", "/64k")
   add(20, "POST", "/taken", { ["Content-Type"] = "text/plain" }, string.rep("b", 2000))
   add(4, "PUT", "/taken", {}, string.rep("b", 70000))
   for _ = 1, 12 do
      requests[#requests + 1] = chunked("/taken")
   end
   add(4, "GET", "/nothing-here")
   add(2, "HEAD", "/1k")
   add(4, "OPTIONS", "/taken")
   add(6, "GET", "/answer")
   add(2, "GET", "/wait")
   add(2, "GET", "/await")
   add(2, "GET", "/thread")
   add(2, "GET", "/intercept")
   add(4, "GET", "/edit")
   add(1, "GET", "/raise")
   -- Not in the order in which they were added: long runs of one kind would be no mix.
   math.randomseed(1)
   for i = #requests, 2, -1 do
      local j = math.random(i)
      requests[i], requests[j] = requests[j], requests[i]
   end
end

function request()
   number = number % #requests + 1
   return requests[number]
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
