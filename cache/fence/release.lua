-- release: gives a lease back without storing anything.
--
-- KEYS  1 lease   ARGV  1 nonce of the begin   RETURNS  1 if it was ours

if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
