-- Learns what became of a call.
--
-- ARGV  7 id of the call   8 when it was granted   9 1 if it was never sent
--       10 limit, 11 window, as told; 0 not   12 remaining, -1 not told
--       13 penalty, 0 none

local id = ARGV[7]
if ARGV[9] == '1' then
  redis.call('ZREM', log, id)
  return 0
end
local l = lane(ARGV[1], ARGV[2])
local limit, window, remaining = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local penalty, news = tonumber(ARGV[13]), false

-- Another window: each call takes up its slot for so much longer, or less.
if window > 0 and window ~= l.window then
  local all = redis.call('ZRANGE', log, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do put(all[i], tonumber(all[i + 1]) + window - l.window) end
  l.window, news = window, true
end
if limit > 0 and limit ~= l.calls then l.calls, news = limit, true end
if penalty > 0 and now + penalty > l.closed then l.closed, news = now + penalty, true end
put(id, now + l.window)

-- What the vendor counts beyond all of ours that it can have counted when this
-- call arrived was made by somebody else with the same identity, no later than
-- now.
if remaining >= 0 and l.calls > 0 then
  local ours = redis.call('ZCOUNT', log, '(' .. fmt(math.min(now, tonumber(ARGV[8]))), '+inf')
  local others = l.calls - remaining - ours
  if others > 1000 then
    l.closed, news = math.max(l.closed, now + l.window), true
  else
    for i = 1, others do put(id .. ':' .. i, now + l.window) end
  end
end
expire(log, 2 * longest + l.window)
if news then save(l) end
return 0
