-- glance: what a tenant's fence says now. It writes nothing.
--
-- KEYS  1 fence
-- ARGV  tags whose last changes matter
--
-- RETURNS  {last number, fence nonce, number of the last change of each tag, 0
--           if none is known}; {'0', '0'} if no fence vouches for the tenant

local h = head(KEYS[1])
if not h or h.owed == 1 then return { '0', '0' } end
local out, ask = { fmt(h.last), h.nonce }, {}
for i, tag in ipairs(ARGV) do ask[i] = 't:' .. tag end
if #ask > 0 then
  for _, stamp in ipairs(redis.call('ZMSCORE', KEYS[1], unpack(ask))) do out[#out + 1] = stamp or '0' end
end
return out
