-- Puts ARGV[2] in the place of ARGV[1], to end in ARGV[3] ms; empty is no value, and no end. {1}, or {0, what is there}.
local held = redis.call('GET', KEYS[1])
local expected = ARGV[1] ~= '' and ARGV[1]
if held ~= expected then return {0, held} end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return {1}
