-- Says how the lane stands, and changes nothing but a penalty's end after the
-- clock went back.
--
-- KEYS  5.. who waits, see take
--
-- RETURNS  {calls, window, used, closed for, busy, life, waiting for each purpose...}

local l = lane()
local used, most = redis.call('ZCOUNT', log, '(' .. fmt(now), '+inf'), tonumber(ARGV[5])
local busy = asked(once, most) + asked(again, most)
local reply = { l.calls, l.window, used, math.max(0, l.closed - now), busy, life(l) }
local since, top = fmt(now - grace(l)), fmt(math.max(now, l.closed) + 10 * l.window)
for k = 5, 8 do
  table.insert(reply, redis.call('ZCOUNT', KEYS[k], since, top))
end
return reply
