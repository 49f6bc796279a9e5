-- invalidate: makes unusable what was computed from these tags.
--
-- KEYS  1 fence   2.. the index of each tag
-- ARGV  1 base key   2 channel   3 nonce for a fence, should one have to be made
--       4 number: 0 at the first call; a continuation carries the first one's
--       5 how many names to unlink at most   6 window, us   7 most members of the fence
--       8 1 to forget that an index was lost, once the tenant has been drained;
--         2 to forget that the drain of a new fence is owed; 3 for that drain
--       9.. the tags; none: only sees to it that there is a fence of this server
--
-- RETURNS  {number, made, more, lost tag, name, until ms, ...}
--   made   1 if there was no fence, until its drain is done (see begin)
--   more   1 if names remain: call again with the number
--   lost   '' or a tag whose index is missing though it should list something
--   names  of the entries that were alive, with the deadlines they had
-- It stamps before it unlinks, and unlinks before it forgets, so that an error
-- in between leaves too little in the cache and never too much. It runs at
-- full memory.

local fence, base, channel = KEYS[1], ARGV[1], ARGV[2]
local number, most = tonumber(ARGV[4]), tonumber(ARGV[5])

local h, last = head(fence)
if not h then h = make(fence, ARGV[3], last) end
local made = h.owed

local ask = {}
for i = 9, #ARGV do
  ask[#ask + 1] = 't:' .. ARGV[i]
  ask[#ask + 1] = 'i:' .. ARGV[i]
end
local scores = #ask > 0 and redis.call('ZMSCORE', fence, unpack(ask)) or {}

if ARGV[8] == '2' and number >= h.floor and number <= h.last then redis.call('ZREM', fence, 'd') end

-- Stamp. A continuation stamps only what has lost its stamp.
if number < h.floor or number > h.last then number = next_number(fence, h) end
local stamps = {}
for i = 1, #ask, 2 do
  if (tonumber(scores[i] or nil) or 0) < number then
    stamps[#stamps + 1] = fmt(number)
    stamps[#stamps + 1] = ask[i]
  end
end
-- The drain of a new fence is no change: its floor refuses all that is older.
if #stamps > 0 and ARGV[8] < '2' then redis.call('ZADD', fence, unpack(stamps)) end
redis.call('PEXPIRE', fence, KEEP_MS)

-- Unlink.
local out, changed = { '', made, 0, '' }, {}
for i = 2, #KEYS do
  local listed = tonumber(scores[2 * i - 2] or nil)
  local found = {}
  if most > 0 then found = redis.pcall('ZRANGE', KEYS[i], 0, most - 1, 'WITHSCORES') end
  if found.err then -- of another type: lost
    redis.call('UNLINK', KEYS[i])
    found, listed = {}, listed or 1
  end
  local names = {}
  for j = 1, #found, 2 do
    local name = found[j]
    names[#names + 1] = name
    if redis.call('UNLINK', base .. name) == 1 and string.sub(name, 1, 2) == 'e:' then
      changed[#changed + 1] = base .. name
      out[#out + 1] = name
      out[#out + 1] = found[j + 1]
    end
  end
  most = most - #names
  if #names > 0 then redis.call('ZREM', KEYS[i], unpack(names)) end
  if redis.call('EXISTS', KEYS[i]) == 1 then
    out[3] = 1
  elseif #names > 0 or ARGV[8] == '1' or not listed then
    redis.call('ZREM', fence, ask[2 * i - 2])
  else
    out[4] = string.sub(ask[2 * i - 2], 3)
  end
end
if #changed > 0 then redis.call('PUBLISH', channel, table.concat(changed, '\n')) end
prune_stamps(fence, h, tonumber(ARGV[6]), tonumber(ARGV[7]))
out[1] = fmt(number)
return out
