-- begin: may somebody fetch this entry or part, and under which number?
--
-- KEYS  1 fence   2 the entry or part   3 its lease
-- ARGV  1 nonce of this begin
--       2 nonce for a fence, should one have to be made
--       3 as-of that satisfies, unix ms: 0 any, -1 nothing begun before now
--       4 version that satisfies, 0 any; one above the last number counts as -1
--       5 life of a lease, ms
--       6 ceiling, ms
--       7 1 for a part: it must be of this fence, not below the floor, begun
--         after 3, and have half its life left unless somebody is fetching it already
--       8 soon, 9 settled, us: how long after a change the source may still be
--         late; see commit
--       10.. tags: of a part, what it is computed from; of an entry, those whose
--         last change is asked for
--
-- RETURNS  {'live', now ms, field, value, ...}
--          {'lease', now ms, number, fence nonce, made, number of the last
--             change of each tag, 0 if none is known}
--          {'busy', now ms, the other's begin ms, the other's remaining ms}
--   made is 1 until the tenant has been drained after its fence was lost: what
--   lies under the index was vouched for by the old one, so the caller drains
--   the tenant before it goes on.

local fence, key, lease = KEYS[1], KEYS[2], KEYS[3]
local as_of, version = tonumber(ARGV[3]), tonumber(ARGV[4])
local lease_ms, ceiling_ms, part = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'

local soon, settled = tonumber(ARGV[8]), tonumber(ARGV[9])
local h, last = head(fence)

-- The numbers of the last changes of the tags that were asked for.
local function changes()
  local ask = {}
  for i = 10, #ARGV do ask[#ask + 1] = 't:' .. ARGV[i] end
  return #ask > 0 and redis.call('ZMSCORE', fence, unpack(ask)) or {}
end

-- What was fetched under this number right after a change may show what was
-- before it: once enough time has passed it is fetched again, soon after the
-- change and when the source has settled. Of a tag without a stamp the floor
-- may hide the last change: there the second time alone counts.
local function ripe(number)
  for _, stamp in ipairs(changes()) do
    local at = tonumber(stamp or nil)
    if number < (at or h.floor) + settled and now_us >= (at or h.floor) + settled then return false end
    if at and number < at + soon and now_us >= at + soon then return false end
  end
  return true
end

-- Reads what stands there: is it alive, and does it satisfy?
local function satisfies()
  if not h or h.owed == 1 then return false, false end
  local f = redis.pcall('HMGET', key, '_asof', '_until', '_version', '_fence')
  if f.err then return false, false end
  local began, deadline, number = tonumber(f[1] or nil), tonumber(f[2] or nil), tonumber(f[3] or nil)
  if not (began and number) or not ahead(deadline, ceiling_ms) or began > now_ms then return false, false end
  if number > h.last then return false, false end
  if part then
    local tenant = tonumber(redis.call('ZSCORE', fence, 't:tenant') or 0)
    local alive = f[4] == h.nonce and number >= h.floor and number >= version and number >= tenant
    -- In one expression with the rest gopher-lua, on which the stand-in runs, takes
    -- what ripe returns for true.
    if as_of > 0 and began <= as_of then alive = false end
    alive = alive and ripe(number)
    return alive and deadline - now_ms >= (deadline - began) / 2, alive
  end
  if as_of < 0 or version > h.last then return false, true end
  return (as_of == 0 or began > as_of) and number >= version, true
end

local held = redis.pcall('HMGET', lease, 'nonce', 'asof', 'number', 'fence', 'made')
local left = redis.call('PTTL', lease)
-- A lease of another fence is void: its commit will be refused.
local busy = not held.err and held[2] and left > 0 and left <= lease_ms and h and held[4] == h.nonce

local function leased(...)
  local out = { 'lease', ... }
  for _, stamp in ipairs(changes()) do out[#out + 1] = stamp or '0' end
  return out
end

-- The client asks again when a reply was lost: the lease is its own.
if busy and held[1] == ARGV[1] then
  return leased(held[2], held[3], held[4], held[5])
end

local good, alive = satisfies()

if good or (part and alive and busy) then
  local out = { 'live', fmt(now_ms) }
  for _, v in ipairs(redis.call('HGETALL', key)) do out[#out + 1] = v end
  return out
end
if busy then return { 'busy', fmt(now_ms), held[2], fmt(left) } end

if not h then
  h = make(fence, ARGV[2], last)
end
local number = next_number(fence, h)
redis.call('PEXPIRE', fence, KEEP_MS)
redis.call('DEL', lease)
redis.call('HSET', lease, 'nonce', ARGV[1], 'number', fmt(number), 'fence', h.nonce, 'asof', fmt(now_ms),
  'made', fmt(h.owed))
redis.call('PEXPIRE', lease, lease_ms)
return leased(fmt(now_ms), fmt(number), h.nonce, fmt(h.owed))
