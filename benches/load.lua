-- wrk's script: every request carries a random token of the file in the first argument; with a third argument of
-- `fresh` each comes over a connection of its own.

local requests = {}

function init(args)
    math.randomseed(tonumber(args[2]))
    local connection = args[3] == "fresh" and "close" or nil
    for token in io.lines(args[1]) do
        local headers = { ["Authorization"] = "Bearer " .. token, ["Connection"] = connection }
        requests[#requests + 1] = wrk.format("GET", nil, headers)
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests":%d,"status":%d,"socket":%d,"p50_us":%d,"p99_us":%d}\n',
        summary.requests,
        errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50),
        latency:percentile(99)
    ))
end
