local collection, ids, documents, versions, garbage, generation, stamps, request = unpack(KEYS)
local name, document_id, grace_ms, fingerprint = unpack(ARGV)

local before = earlier(request, fingerprint)
if before then return before end
local uid = redis.call('HGET', collection, 'uid')
if not uid then return {'MISSING'} end
local version = redis.call('HGET', versions, document_id)
if not version then return {'NO_DOCUMENT'} end
redis.call('HDEL', versions, document_id)
redis.call('HDEL', documents, document_id)
redis.call('ZREM', ids, document_id)
local number = redis.call('INCR', generation)
redis.call('HSET', collection, 'generation', number)
redis.call('HSET', stamps, 'collection/' .. name, number)
redis.call('ZADD', garbage, now_ms() + grace_ms, uid .. '/' .. version)
return answered(request, fingerprint, '')
