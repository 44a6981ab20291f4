-- wrk's script: every token of the file in the first argument once, in order, and the last one ever after.

local tokens, last

function init(args)
    tokens = io.lines(args[1])
end

function request()
    last = tokens and tokens() or nil
    if last then
        current = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. last })
    else
        tokens = nil
    end
    return current
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('RESULT {"requests":%d,"status":%d}\n', summary.requests, errors.status))
end
