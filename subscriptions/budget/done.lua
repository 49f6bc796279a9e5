-- Learns what became of a call.
--
-- ARGV  1 id of the call   2 when it was granted
--       3 usual calls, 0 no limit   4 usual window   5 longest call
--       6 1 if it was never sent
--       7 limit, 8 window, as told; 0 not   9 remaining, -1 not told
--       10 penalty, 0 none

local id, longest = ARGV[1], tonumber(ARGV[5])
if ARGV[6] == '1' then
  redis.call('ZREM', log, id)
  return 0
end
local l = lane(tonumber(ARGV[3]), tonumber(ARGV[4]))
local limit, window, remaining = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local penalty, news = tonumber(ARGV[10]), false

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
  local ours = redis.call('ZCOUNT', log, '(' .. fmt(math.min(now, tonumber(ARGV[2]))), '+inf')
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
