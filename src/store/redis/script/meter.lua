-- One decision of a bucket; see src/limit/meter.rs. The number kept is the tick at which the bucket is full.
local time = redis.call('TIME')
local now = ((time[1] - 1750000000) * 1000000 + time[2]) * 8
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = tonumber(redis.call('GET', KEYS[1]))
local full = now
-- False as well for what is not a number.
if kept and kept >= now then full = math.min(kept, now + window) end
local allowed = full + interval - now <= window
if allowed then full = full + interval end
-- Also where it was further ahead than an empty bucket can be, by another clock or another rule: or it would stay shut.
if full ~= kept and full > now then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 8000))
end
return {allowed and 1 or 0, full - now}
