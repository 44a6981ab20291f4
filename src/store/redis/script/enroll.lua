-- Puts ARGV[1] on the roll for ARGV[2] ms; ARGV[3] is told with it. Whoever's time is over is struck off.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSETNX', KEYS[1], 'since', now)
local roll = redis.call('HGETALL', KEYS[1])
for i = 1, #roll, 2 do
  local ends = string.match(roll[i + 1], '^(%d+) ')
  if ends and tonumber(ends) < now then redis.call('HDEL', KEYS[1], roll[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[2], ARGV[3]))
-- Nobody left: it begins anew, and whoever reads it sees that.
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
