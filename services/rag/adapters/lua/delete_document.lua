local collection, ids, documents, versions, garbage, generation, request = unpack(KEYS)
local document_id, grace_ms, fingerprint = unpack(ARGV)

local before = earlier(request, fingerprint)
if before then return before end
local uid = redis.call('HGET', collection, 'uid')
if not uid then return {'MISSING'} end
local version = redis.call('HGET', versions, document_id)
if not version then return {'NO_DOCUMENT'} end
redis.call('HDEL', versions, document_id)
redis.call('HDEL', documents, document_id)
redis.call('ZREM', ids, document_id)
redis.call('HSET', collection, 'generation', redis.call('INCR', generation))
redis.call('ZADD', garbage, now_ms() + grace_ms, uid .. '/' .. version)
return answered(request, fingerprint, '')
