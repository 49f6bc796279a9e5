-- Stands before each script. Times are in microseconds by this server's clock.
--
-- KEYS  1 state: calls, window (as the vendor told), closed, noted (when closed
--         was written), usual_calls, usual_window
--       2 log: the calls, scored by the time until which each takes up a slot
--       3 once: those who start the lives of entries and were seen once lately,
--         scored by when
--       4 again: those who came back since, scored by when they last did
-- ARGV  1 usual calls, 0 no limit   2 usual window   3 longest call
--       4 shortest, 5 longest life of an entry
--       6 percent of the calls that may go into keeping entries alive
local state, log, once, again = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local longest = tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local DAY_MS = 86400000

local function fmt(n) return string.format('%.0f', n) end

local function expire(key, us) redis.call('PEXPIRE', key, fmt(math.ceil(us / 1000) + 1000)) end

local function keep(l)
  redis.call('PEXPIRE', state, fmt(math.max(DAY_MS, math.ceil((l.closed - now) / 1000)) + 1000))
end

local function save(l)
  redis.call('HSET', state, 'calls', fmt(l.calls), 'window', fmt(l.window), 'closed', fmt(l.closed),
    'noted', fmt(now))
  keep(l)
end

-- The lane as it is known; what the vendor has not told is as usual.
local function lane(calls, window)
  local f = redis.call('HMGET', state, 'calls', 'window', 'closed', 'noted', 'usual_calls', 'usual_window')
  local l = { calls = tonumber(f[1] or calls or f[5] or 0), window = tonumber(f[2] or window or f[6] or 0),
    closed = tonumber(f[3] or 0), usual_calls = f[5], usual_window = f[6] }
  local noted = tonumber(f[4] or 0)
  if l.closed > noted and noted > now then -- the clock went back: a penalty keeps its length
    l.closed = now + l.closed - noted
    save(l)
  end
  return l
end

-- Drops what ended so long ago that no call under way saw it, and shortens what
-- a clock that went back has made longer than a call can be.
local function tidy(window)
  local old = redis.call('ZRANGEBYSCORE', log, '-inf', '(' .. fmt(now - longest), 'LIMIT', 0, 1000)
  if #old > 0 then redis.call('ZREM', log, unpack(old)) end
  local top = fmt(now + longest + window)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', log, '(' .. top, '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', log, top, id)
  end
end

local function put(id, till)
  redis.call('ZADD', log, fmt(till), id)
end

-- Those who do not come within this long after their turn have lost it: a
-- twentieth of a window, but a second at least, for they come by queues.
local function grace(l) return math.max(1000000, l.window / 20) end

-- How many of them asked within a time.
local function asked(of, within) return redis.call('ZCOUNT', of, '(' .. fmt(now - within), fmt(now)) end

-- The shortest life at which the share suffices if those who come back ask once
-- in it, and as many others as lately; 0 if there is no limit. Who came back is
-- counted over the longest life: within a shorter one not all of them ask, and
-- the more seldom the longer their entries live.
local function life(l)
  if l.calls == 0 then return 0 end
  local each = l.window * 100 / (tonumber(ARGV[6]) * l.calls) -- the time that one call takes up
  local past, most = tonumber(ARGV[4]), tonumber(ARGV[5])
  local back, all, long = asked(again, most), asked(once, most), past
  while long < most do
    local others = asked(once, long)
    local need = (back + others) * each
    if need <= long then return math.max(past, need) end
    past, long = long, others == all and need or long * 1.25
  end
  return most
end
