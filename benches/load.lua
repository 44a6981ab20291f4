-- wrk's script: every request carries a random token of the file in the first argument.

local requests = {}

function init(args)
    math.randomseed(tonumber(args[2]))
    for token in io.lines(args[1]) do
        requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
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
