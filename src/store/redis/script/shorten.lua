-- Makes it end in ARGV[1] ms if it would end later or never. No key: -2, which is not later.
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > tonumber(ARGV[1]) then return redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0
