-- Shared by the scripts of this folder; it stands in front of each of them.
-- Numbers are doubles: microseconds since 1970 fit exactly, but only '%.0f'
-- writes them out whole.
--
-- The fence is one sorted set:
--   c          minus the creation nonce
--   n          the last number given out
--   f          the floor: no number below it is believed
--   t:<tag>    the number of the tag's last change
--   i:<tag>    unix ms: the latest _until of what the tag's index lists
--   d          there while the drain that a new fence needs is still owed
--   r          minus the first 52 bits of the replication id of the server
--              that it was made on
-- The scores of i: are in milliseconds and those of n, f, t: in microseconds,
-- so MILLIS_END parts the two.

local MILLIS_END = 100000000000000
local KEEP_MS = 86400000 -- bookkeeping that nobody touched for a day goes

local function fmt(n) return string.format('%.0f', n) end

local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now_ms = math.floor(now_us / 1000)

-- The server's name for this history of its data: another one after a restart
-- and after every failover. 0 where the server has none.
local function history()
  local info = redis.pcall('INFO', 'replication')
  local id = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  return id and tonumber(string.sub(id, 1, 13), 16) or 0
end

-- The fence's head: last number, floor, nonce. nil if there is no fence, or if
-- it was made under another history: changes may have been applied since that
-- this copy of the data never saw. Then the second value is its last number.
local function head(fence)
  local s = redis.pcall('ZMSCORE', fence, 'n', 'f', 'c', 'd', 'r') -- of another type: lost
  if s.err or not (s[1] and s[2] and s[3] and s[5]) then return nil end
  if tonumber(s[5]) ~= -history() then return nil, tonumber(s[1]) end
  return { last = tonumber(s[1]), floor = tonumber(s[2]), nonce = fmt(-tonumber(s[3])), owed = s[4] and 1 or 0 }
end

-- Makes a fence whose floor is its first number. From one of another history
-- it keeps what its indexes should list, and counts on.
local function make(fence, nonce, last)
  if not last then redis.call('UNLINK', fence) end
  local n = math.max((last or 0) + 1, now_us)
  redis.call('ZADD', fence, n, 'n', n, 'f', -tonumber(nonce), 'c', 0.5, 'd', -history(), 'r')
  return { last = n, floor = n, nonce = nonce, owed = 1 }
end

local function next_number(fence, h)
  h.last = math.max(h.last + 1, now_us)
  redis.call('ZADD', fence, h.last, 'n')
  return h.last
end

-- Whether a deadline is ahead, and no further than the ceiling allows: one
-- further away was written before the clock was set back.
local function ahead(until_ms, ceiling_ms)
  return until_ms ~= nil and now_ms < until_ms and until_ms <= now_ms + ceiling_ms
end

-- Forgets stamps older than window_us, at most 100, and beyond most of them
-- the oldest; the floor rises to the highest forgotten.
local function prune_stamps(fence, h, window_us, most)
  local upto, slice = now_us - window_us, 100
  local over = redis.call('ZCOUNT', fence, MILLIS_END, '+inf') - most
  if over > 0 then upto, slice = h.last, math.min(over + 100, 1000) end -- more than a call adds
  local old = redis.call('ZRANGEBYSCORE', fence, MILLIS_END, upto, 'WITHSCORES', 'LIMIT', 0, slice)
  local gone, floor = {}, h.floor
  for i = 1, #old, 2 do
    if string.sub(old[i], 1, 2) == 't:' then
      gone[#gone + 1] = old[i]
      floor = math.max(floor, tonumber(old[i + 1]))
    end
  end
  if #gone == 0 then return end
  redis.call('ZADD', fence, floor, 'f') -- before the stamps go: an error between the two is safe
  redis.call('ZREM', fence, unpack(gone))
end

-- Takes up to slice dead members out of a tag's index and unlinks what they
-- name unless it is alive by its own deadline, since a clock that goes back
-- would bring it to life again, listed nowhere.
local function prune_index(base, tag_key, fence, tag, slice, ceiling_ms)
  local dead = redis.call('ZRANGEBYSCORE', tag_key, '-inf', now_ms, 'LIMIT', 0, slice)
  for _, name in ipairs(dead) do
    local deadline = redis.pcall('HGET', base .. name, '_until')
    deadline = type(deadline) == 'string' and tonumber(deadline) or nil
    if not ahead(deadline, ceiling_ms) then redis.call('UNLINK', base .. name) end
  end
  if #dead > 0 then redis.call('ZREM', tag_key, unpack(dead)) end
  -- What is missing though nobody emptied it was lost, and stays noted: the
  -- clock may go back and bring what it listed to life again.
  if redis.call('EXISTS', tag_key) == 0 then
    if #dead == 0 and tonumber(redis.call('ZSCORE', fence, 'i:' .. tag) or 0) > now_ms - KEEP_MS then return end
    redis.call('ZREM', fence, 'i:' .. tag)
  end
end
