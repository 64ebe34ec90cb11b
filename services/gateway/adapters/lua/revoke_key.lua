-- Ends a key; one that is revoked already stays as it is. Returns its record and when it was last used.
local records, ends, used = unpack(KEYS)
local id, now_ms = unpack(ARGV)

local record = redis.call('HGET', records, id)
if not record then return {} end
local key = cjson.decode(record)
if key.revoke_ms == 0 then
  key.revoke_ms = tonumber(now_ms)
  record = cjson.encode(key)
  redis.call('HSET', records, id, record)
  redis.call('ZADD', ends, 'LT', now_ms, id)
end
return {record, redis.call('HGET', used, id) or '0'}
