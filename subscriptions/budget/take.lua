-- Asks for one call now.
--
-- KEYS  3.. who waits, one for each purpose in their order, scored by the time
--         of their turn
-- ARGV  1 id of the call   2 purpose, 0 goes first
--       3 usual calls, 0 no limit   4 usual window   5 longest call
--       6 percent of the calls that are for purpose 0 alone
--
-- RETURNS  {'granted', now, calls in the window, limit}
--          {'full' or 'closed', time until the caller's turn, calls in the window, limit}

local id, purpose, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])
local l = lane(tonumber(ARGV[3]), tonumber(ARGV[4]))
local own = KEYS[3 + purpose]
tidy(l.window, longest)
local used = redis.call('ZCOUNT', log, '(' .. fmt(now), '+inf')
if redis.call('ZSCORE', log, id) then -- the reply was lost and the client asks again
  return { 'granted', fmt(now), fmt(used), fmt(l.calls) }
end

-- Who does not come shortly after its turn waits no more. Who comes is taken
-- for the first of its purpose whose turn it is.
local grace, ahead_of_us = l.window / 20, 10 * l.window
local gone = redis.call('ZRANGEBYSCORE', own, '-inf', '(' .. fmt(now - grace), 'LIMIT', 0, 1000)
if #gone > 0 then redis.call('ZREM', own, unpack(gone)) end
local first = redis.call('ZRANGEBYSCORE', own, '-inf', fmt(now), 'LIMIT', 0, 1)
if #first > 0 then redis.call('ZREM', own, first[1]) end

local kept = 0
if purpose > 0 and l.calls > 1 then kept = math.max(1, math.floor(l.calls * tonumber(ARGV[6]) / 100)) end
-- Before a newcomer are all who wait, before who keeps its place those whose turn
-- has come too.
local since, horizon = fmt(now - grace), fmt(#first > 0 and now or math.max(now, l.closed) + ahead_of_us)
local due, before = 0, 0
for p = 0, purpose do
  before = before + redis.call('ZCOUNT', KEYS[3 + p], since, horizon)
  if p < purpose then due = due + redis.call('ZCOUNT', KEYS[3 + p], since, fmt(now)) end
end
local free = l.calls - used
if l.closed <= now and (l.calls == 0 or free - kept - due >= 1) then
  put(id, now + longest + l.window)
  expire(log, 2 * longest + l.window)
  return { 'granted', fmt(now), fmt(used + 1), fmt(l.calls) }
end

-- When the i-th slot frees from now on. A call under way frees one a window
-- after its reply, which may come at any time.
local function frees(i)
  if i <= 0 or used == 0 then return now end
  local e = redis.call('ZRANGEBYSCORE', log, '(' .. fmt(now), '+inf', 'WITHSCORES', 'LIMIT', (i - 1) % used, 1)
  return math.min(tonumber(e[2]), now + l.window) + math.floor((i - 1) / used) * l.window
end
local turn = math.max(now + math.max(1000, l.window / 1000), l.closed)
if l.calls > 0 then
  turn = math.max(turn, math.min(frees(before + kept + 1 - free), math.max(now, l.closed) + ahead_of_us))
end
if before < 100 * math.max(100, l.calls) then
  redis.call('ZADD', own, fmt(turn), id)
  expire(own, math.max(0, l.closed - now) + 2 * ahead_of_us)
end
return { l.closed > now and 'closed' or 'full', fmt(turn - now), fmt(used), fmt(l.calls) }
