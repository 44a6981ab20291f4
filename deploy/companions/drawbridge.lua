-- HAProxy asks drawbridge before it forwards: `http-request lua.drawbridge` in a frontend (HAProxy 2.6 and later, with
-- Lua). Whatever goes wrong here, the request does not pass.

-- Where drawbridge answers HAProxy (`proxy = "haproxy"` in its listener).
local ASK = "http://127.0.0.1:9194/"
-- Milliseconds: longer than drawbridge waits for its store.
local PATIENCE = 2000
-- What drawbridge says of the user.
local IDENTITY = {
    "x-user-id", "x-user-permissions", "x-user-roles", "x-device-id", "x-device-type", "x-actor-id",
    "x-drawbridge-assertion", "x-request-id",
}
-- What of a refusal goes to the client.
local TOLD = {
    "allow", "cache-control", "content-type", "location", "ratelimit", "ratelimit-policy", "retry-after", "vary",
    "www-authenticate", "x-request-id",
}
-- Headers of the connection, and those that HAProxy tells drawbridge itself.
local OWN = {
    ["host"] = true, ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true,
    ["te"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- Frameworks believe these over the request line: what was judged would not be what runs.
local OVERRIDES = {
    "x-original-url", "x-original-uri", "x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override",
}

-- Letters and digits: what is left of a name for those who cannot tell `-` from `_`.
local function fold(name)
    return (string.gsub(string.lower(name), "[^%w]", ""))
end

local taken_off = {}
for _, names in ipairs { IDENTITY, OVERRIDES } do
    for _, name in ipairs(names) do taken_off[fold(name)] = true end
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply()
    reply:set_status(status)
    for name, value in pairs(headers) do reply:add_header(name, value) end
    reply:set_body(body or "")
    txn:done(reply)
end

local function question(txn, sent)
    local headers = {}
    for name, values in pairs(sent) do
        if not OWN[name] and not string.find(fold(name), "^xforwarded") then
            headers[name] = {}
            for index = 0, #values do headers[name][index + 1] = values[index] end
        end
    end
    headers["x-forwarded-method"] = { txn.f:method() }
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-forwarded-host"] = { sent["host"] and sent["host"][0] or "" }
    headers["x-forwarded-uri"] = { txn.f:pathq() }
    headers["x-forwarded-for"] = { txn.f:src() }
    return headers
end

core.register_action("drawbridge", { "http-req" }, function(txn)
    local sent = txn.http:req_get_headers()
    local fine, answer = pcall(function()
        return core.httpclient():get { url = ASK, headers = question(txn, sent), timeout = PATIENCE }
    end)
    if not fine or not answer or (answer.status or 0) < 200 then
        return refuse(txn, 503, { ["retry-after"] = "1", ["cache-control"] = "no-store" })
    end
    local told = answer.headers or {}
    if answer.status ~= 200 then
        local headers = {}
        for _, name in ipairs(TOLD) do
            if told[name] then headers[name] = told[name][0] or told[name][1] end
        end
        return refuse(txn, answer.status, headers, answer.body)
    end
    for name, _ in pairs(sent) do
        if taken_off[fold(name)] then txn.http:req_del_header(name) end
    end
    for _, name in ipairs(IDENTITY) do
        txn.http:req_set_header(name, told[name] and (told[name][0] or told[name][1]) or "")
    end
    -- The token is not the backend's business. (A cookie with it goes on.)
    txn.http:req_del_header("authorization")
end)
