-- Stands before each script. Times are in microseconds by this server's clock.
--
-- KEYS  1 state: calls, window (as the vendor told), closed, noted (when closed
--         was written)
--       2 log: the calls, scored by the time until which each takes up a slot
local state, log = KEYS[1], KEYS[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local DAY_MS = 86400000

local function fmt(n) return string.format('%.0f', n) end

local function expire(key, us) redis.call('PEXPIRE', key, fmt(math.ceil(us / 1000) + 1000)) end

local function save(l)
  redis.call('HSET', state, 'calls', fmt(l.calls), 'window', fmt(l.window), 'closed', fmt(l.closed), 'noted', fmt(now))
  redis.call('PEXPIRE', state, fmt(math.max(DAY_MS, math.ceil((l.closed - now) / 1000)) + 1000))
end

-- The lane as it is known; what the vendor has not told is as usual.
local function lane(calls, window)
  local f = redis.call('HMGET', state, 'calls', 'window', 'closed', 'noted')
  local l = { calls = tonumber(f[1] or nil) or calls, window = tonumber(f[2] or nil) or window,
    closed = tonumber(f[3] or nil) or 0 }
  local noted = tonumber(f[4] or nil) or 0
  if l.closed > noted and noted > now then -- the clock went back: a penalty keeps its length
    l.closed = now + l.closed - noted
    save(l)
  end
  return l
end

-- Drops what ended so long ago that no call under way saw it, and shortens what
-- a clock that went back has made longer than a call can be.
local function tidy(window, longest)
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
