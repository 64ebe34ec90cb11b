-- Stores a new key, unless its request was answered before. `request` holds the fingerprint (64 characters) of the request
-- that made a key and the nonce that it was made from; an empty fingerprint: the request has no id.
local records, ends, used, request = unpack(KEYS)
local id, record, expire_ms, now_ms, fingerprint, nonce, max_live, max_listed, listed_ms, request_ttl_ms = unpack(ARGV)

if fingerprint ~= '' then
  local before = redis.call('GET', request)
  if before and string.sub(before, 1, 64) ~= fingerprint then return {'REUSED'} end
  if before then return {'AGAIN', string.sub(before, 65)} end
end
local forgotten = redis.call('ZRANGEBYSCORE', ends, '-inf', '(' .. (now_ms - listed_ms), 'LIMIT', 0, 1000)
for _, old in ipairs(forgotten) do
  redis.call('ZREM', ends, old)
  redis.call('HDEL', records, old)
  redis.call('HDEL', used, old)
end
if redis.call('ZCOUNT', ends, '(' .. now_ms, '+inf') >= tonumber(max_live) then return {'FULL', max_live} end
if redis.call('ZCARD', ends) >= tonumber(max_listed) then return {'FULL', max_listed} end
redis.call('HSET', records, id, record)
redis.call('ZADD', ends, expire_ms, id)
if fingerprint ~= '' then redis.call('SET', request, fingerprint .. nonce, 'PX', request_ttl_ms) end
return {'OK'}
