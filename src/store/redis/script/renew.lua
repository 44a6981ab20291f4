-- Writes again what is there, with the end that it has, if it is ARGV[1]: a write that whoever copies this server must have.
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], held, 'KEEPTTL')
return 1
