-- commit: stores what was fetched under a lease, unless it may be stale.
--
-- KEYS  1 fence   2 the entry or part   3 its lease   4.. the index of each tag
-- ARGV  1 base key   2 name of the entry or part   3 channel
--       4 nonce of the begin   5 life of a lease, ms   6 ceiling, ms
--       7 wanted life, ms   8 deadline not to be exceeded, unix ms, 0 none
--       9 as-of of the oldest part, unix ms, 0 none
--       10 soon, 11 settled, us: how long after a change the source may still be
--          late: when to fetch again, and when a fetch confirms
--       12 window, us: how long stamps are kept   13 most members of the fence
--       14 number of tags, then for each: text, number (0: the lease's), name
--          of the thing it came with ('' none)
--       then number of those things, then for each: name, number, fence nonce
--       then field and value in turn
--
-- RETURNS  {'stored', now ms, as-of ms, until ms, version, confirmed, changed ms, wait ms}
--          {'late', the same} nothing was stored: its life is over already
--   changed  the last known change after which it is not confirmed; 0 if there is none
--   wait     then: how long from now a fetch should wait to come nearer to that
--          {'refused', now ms, what, thing}: what is 'lease', 'fence', 'floor', 'index:<tag>'
--             or 'tag:<tag>'; thing is the name of what must be fetched again
-- A refusal drops the lease, if it is ours, and unlinks the refused part.

local fence, key, lease = KEYS[1], KEYS[2], KEYS[3]
local base, name, channel, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, ceiling_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local soon, settled = tonumber(ARGV[10]), tonumber(ARGV[11])
local at = 14
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local held = redis.pcall('HMGET', lease, 'nonce', 'number', 'fence', 'asof')
if held.err or held[1] ~= nonce then return { 'refused', fmt(now_ms), 'lease', '' } end
local own, began = tonumber(held[2]), tonumber(held[4])

local function refuse(what, thing)
  redis.call('DEL', lease)
  if thing ~= '' then redis.call('UNLINK', base .. thing) end
  return { 'refused', fmt(now_ms), what, thing }
end

local left = redis.call('PTTL', lease)
if left < 0 or left > lease_ms then return refuse('lease', '') end
local h = head(fence)
if not h or h.nonce ~= held[3] then return refuse('fence', '') end
if own < h.floor then return refuse('floor', '') end

local tags, ask = {}, {}
for i = 1, tonumber(take()) do
  local text, number, thing = take(), tonumber(take()), take()
  if number == 0 then number = own end
  tags[i] = { text = text, number = number, thing = thing, key = KEYS[3 + i] }
  ask[#ask + 1] = 't:' .. text
  ask[#ask + 1] = 'i:' .. text
end
local version = own
for _ = 1, tonumber(take()) do
  local thing, number, made_by = take(), tonumber(take()), take()
  if made_by ~= h.nonce then return refuse('fence', thing) end
  if number < h.floor then return refuse('floor', thing) end
  version = math.min(version, number)
end

-- Without a stamp, the last change of a tag may be as late as the floor.
local scores = redis.call('ZMSCORE', fence, unpack(ask))
local confirmed, stale = '1', nil
local early, late = 0, 0 -- the last changes that it comes less than soon, or settled, after
for i, tag in ipairs(tags) do
  local stamp = tonumber(scores[2 * i - 1] or nil) or h.floor
  tag.listed = tonumber(scores[2 * i] or nil) or 0
  if stamp > tag.number then
    -- Things first: a refusal that names none has found all of them good.
    if tag.thing ~= '' then return refuse('tag:' .. tag.text, tag.thing) end
    stale = stale or tag.text
  end
  if tag.number - stamp < settled then confirmed = '0' end
  local at = tonumber(scores[2 * i - 1] or nil) -- of a change that is known
  if at and tag.number - at < settled then late = math.max(late, at) end
  if at and tag.number - at < soon then early = math.max(early, at) end
end
if stale then return refuse('tag:' .. stale, '') end
for _, tag in ipairs(tags) do
  local kind = redis.call('TYPE', tag.key).ok
  if kind ~= 'zset' and (kind ~= 'none' or tag.listed > 0) then return refuse('index:' .. tag.text, '') end
end

local as_of = began
if tonumber(ARGV[9]) > 0 then as_of = math.min(began, tonumber(ARGV[9])) end
local deadline = math.min(began + tonumber(ARGV[7]), as_of + ceiling_ms)
local limit = tonumber(ARGV[8])
if limit > 0 then deadline = math.min(deadline, limit) end
local due = 0
if late > 0 then due = late + settled end
if early > 0 then due = early + soon end
local outcome = { 'stored', fmt(now_ms), fmt(as_of), fmt(deadline), fmt(version), confirmed,
  fmt(math.floor(late / 1000)), fmt(math.max(0, math.ceil((due - now_us) / 1000))) }
if not ahead(deadline, ceiling_ms) then
  redis.call('DEL', lease)
  outcome[1] = 'late'
  return outcome
end

-- From here on only writes. The old entry goes first: should a write fail, it
-- must not stay with a listing that is no longer its own. Then the index, so
-- that nothing is stored which an invalidation could not find.
redis.call('DEL', key)
for _, tag in ipairs(tags) do
  redis.call('ZADD', tag.key, fmt(deadline), name)
  redis.call('PEXPIRE', tag.key, KEEP_MS)
  if deadline > tag.listed then redis.call('ZADD', fence, fmt(deadline), 'i:' .. tag.text) end
end
redis.call('HSET', key, '_asof', fmt(as_of), '_until', fmt(deadline), '_version', fmt(version),
  '_confirmed', confirmed, '_stored', fmt(now_ms))
if string.sub(name, 1, 2) == 'p:' then redis.call('HSET', key, '_fence', h.nonce) end
while at < #ARGV do
  local last = math.min(at + 1999, #ARGV)
  redis.call('HSET', key, unpack(ARGV, at, last))
  at = last + 1
end
redis.call('PEXPIREAT', key, fmt(deadline))
redis.call('DEL', lease)
if string.sub(name, 1, 2) == 'e:' then redis.call('PUBLISH', channel, base .. name) end

-- Housekeeping, in slices.
for _, tag in ipairs(tags) do prune_index(base, tag.key, fence, tag.text, 10, ceiling_ms) end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', fence, 1, now_ms, 'LIMIT', 0, 8)) do
  local text = string.sub(member, 3)
  prune_index(base, base .. 't:' .. text, fence, text, 100, ceiling_ms)
end
prune_stamps(fence, h, tonumber(ARGV[12]), tonumber(ARGV[13]))
redis.call('PEXPIRE', fence, KEEP_MS)
return outcome
