local names, collection, ids, documents, versions, garbage, stamps, request = unpack(KEYS)
local name, grace_ms, fingerprint = unpack(ARGV)

local before = earlier(request, fingerprint)
if before then return before end
local uid = redis.call('HGET', collection, 'uid')
if not uid then return {'MISSING'} end
local count = redis.call('HLEN', versions)
redis.call('ZREM', names, name)
redis.call('HDEL', stamps, 'collection/' .. name)
redis.call('UNLINK', collection, ids, documents, versions)
redis.call('ZADD', garbage, now_ms() + grace_ms, uid .. '/')
return answered(request, fingerprint, tostring(count))
