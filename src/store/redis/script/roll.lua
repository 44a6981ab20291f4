-- For how many ms there has been this roll, and the names and entries of those whose time is not over.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local roll, all = redis.call('HGETALL', KEYS[1]), {0}
for i = 1, #roll, 2 do
  local ends, told = string.match(roll[i + 1], '^(%d+) (%d+)$')
  if roll[i] == 'since' then
    all[1] = now - roll[i + 1]
  elseif ends and tonumber(ends) >= now then
    all[#all + 1] = roll[i]
    all[#all + 1] = tonumber(told)
  end
end
return all
