-- Asks for one call now.
--
-- KEYS  5.. who waits, one for each purpose in their order, scored by the time of
--           their turn
--       9.. the same, scored by their place: in the order in which they came
-- ARGV  7 id of the call   8 the caller   9 purpose, 0 goes first
--       10 percent of the calls that are for purpose 0 alone
--       11 how many busy callers are kept; 0 if this is none
--
-- RETURNS  {'granted', now, calls in the window, limit, life that suffices}
--          {'full' or 'closed', now, calls in the window, limit, time until our turn}

local id, me, purpose = ARGV[7], ARGV[8], tonumber(ARGV[9])
local room, l = tonumber(ARGV[11]), lane(ARGV[1], ARGV[2])
local turns, places = KEYS[5 + purpose], KEYS[9 + purpose]
tidy(l.window)
local used = redis.call('ZCOUNT', log, '(' .. fmt(now), '+inf')
local function granted() return { 'granted', fmt(now), fmt(used), fmt(l.calls), fmt(life(l)) } end
if redis.call('ZSCORE', log, id) then return granted() end -- the reply was lost and the client asks again

if l.usual_calls ~= ARGV[1] or l.usual_window ~= ARGV[2] then -- for who looks on
  redis.call('HSET', state, 'usual_calls', ARGV[1], 'usual_window', ARGV[2])
  keep(l)
end

local function drop(key, from, to)
  local old = redis.call('ZRANGEBYSCORE', key, from, to, 'LIMIT', 0, 1000)
  if #old > 0 then redis.call('ZREM', key, unpack(old)) end
  return old
end

-- Who does not come shortly after its turn waits no more, nor one whose turn is
-- farther off than any can be: the clock went back.
local step, far = math.max(1000, l.window / 1000), 10 * l.window
local since, soon, top = fmt(now - grace(l)), fmt(now + step), math.max(now, l.closed) + far
for _, gone in ipairs({ drop(turns, '-inf', '(' .. since), drop(turns, '(' .. fmt(top), '+inf') }) do
  if #gone > 0 then redis.call('ZREM', places, unpack(gone)) end
end
local turn = tonumber(redis.call('ZSCORE', turns, me) or nil)
local place = turn and tonumber(redis.call('ZSCORE', places, me) or nil)

-- Who asks and does not wait yet starts a life; who has done so before has come
-- back.
if room > 0 then
  local most, seen = tonumber(ARGV[5]), once
  for _, key in ipairs({ once, again }) do drop(key, '-inf', fmt(now - most)) end
  local back = redis.call('ZSCORE', again, me)
  if back or not place and redis.call('ZSCORE', once, me) then seen = again end
  if seen == again and not back then redis.call('ZREM', once, me) end
  redis.call('ZADD', seen, fmt(now), me)
  if redis.call('ZCOUNT', seen, '-inf', '+inf') > room then
    redis.call('ZREM', seen, redis.call('ZRANGE', seen, 0, 0)[1])
  end
  expire(seen, most)
end

-- Before us are all of a higher purpose, and those of ours who came earlier. Only
-- those whose turn has come too keep us from a slot that is free: the others'
-- are still to free.
local before, due = 0, 0
for p = 0, purpose do
  local all = redis.call('ZCOUNT', KEYS[5 + p], since, fmt(top))
  local come = redis.call('ZCOUNT', KEYS[5 + p], since, soon)
  if p == purpose and place then
    all = redis.call('ZCOUNT', places, '-inf', '(' .. fmt(place))
    come = math.min(all, turn <= now + step and come - 1 or come)
  end
  before, due = before + all, due + come
end
local kept = 0
if purpose > 0 and l.calls > 1 then kept = math.max(1, math.floor(l.calls * tonumber(ARGV[10]) / 100)) end
local free = l.calls - used
if l.closed <= now and (l.calls == 0 or free - kept - due >= 1) then
  for k = 5, 12 do redis.call('ZREM', KEYS[k], me) end
  put(id, now + longest + l.window)
  expire(log, 2 * longest + l.window)
  used = used + 1
  return granted()
end

-- When the i-th slot frees from now on. A call under way frees one a window
-- after its reply, which may come at any time; those that are free now free a
-- window after they are taken by who is before us.
local function frees(i)
  local slots = math.max(used, l.calls)
  if i <= 0 then return now end
  local n, till = (i - 1) % slots, now + l.window
  if n < used then
    local e = redis.call('ZRANGEBYSCORE', log, '(' .. fmt(now), '+inf', 'WITHSCORES', 'LIMIT', n, 1)
    till = math.min(till, tonumber(e[2]))
  end
  return till + math.floor((i - 1) / slots) * l.window
end
local new = now + step
if l.calls > 0 then new = math.max(new, math.min(frees(before + kept + 1 - free), top)) end
if turn and turn > now then new = math.min(new, turn) end
new = math.max(new, l.closed)
if place or before < 100 * math.max(100, l.calls) then
  if not place then
    local last = redis.call('ZRANGE', places, -1, -1, 'WITHSCORES')
    redis.call('ZADD', places, fmt(math.max(now, tonumber(last[2] or 0) + 1)), me)
  end
  redis.call('ZADD', turns, fmt(new), me)
  for _, key in ipairs({ turns, places }) do expire(key, top - now + far) end
end
return { l.closed > now and 'closed' or 'full', fmt(now), fmt(used), fmt(l.calls), fmt(new - now) }
