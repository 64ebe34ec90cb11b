-- Registers a version whose passages are about to be written, or renews that. Who comes again after the lease has run out, when
-- the entry may be gone to the garbage already, is told so.
local collection, versions, pending = unpack(KEYS)
local uid, document_id, version, lease_ms, limit, renews = unpack(ARGV)

if redis.call('HGET', collection, 'uid') ~= uid then return {'MISSING'} end
local member = uid .. '/' .. version
local now = now_ms()
if renews == '1' then
  local expiry = redis.call('ZSCORE', pending, member)
  if not expiry or tonumber(expiry) <= now then return {'EXPIRED'} end
elseif redis.call('HEXISTS', versions, document_id) == 0 and redis.call('HLEN', versions) >= tonumber(limit) then
  return {'FULL'}
end
redis.call('ZADD', pending, now + lease_ms, member)
return {'OK'}
