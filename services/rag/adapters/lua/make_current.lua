local collection, ids, documents, versions, pending, garbage, generation, request = unpack(KEYS)
local uid, document_id, version, replaces, record, model, model_version, answer, limit, grace_ms, fingerprint = unpack(ARGV)

local before = earlier(request, fingerprint)
if before then return before end
if redis.call('HGET', collection, 'uid') ~= uid then return {'MISSING'} end
local current = redis.call('HGET', versions, document_id) or ''
if current ~= replaces then return {'CONFLICT'} end
local member = uid .. '/' .. version
local now = now_ms()
local expiry = redis.call('ZSCORE', pending, member)
if not expiry or tonumber(expiry) <= now then return {'CONFLICT'} end
if current == '' and redis.call('HLEN', versions) >= tonumber(limit) then return {'FULL'} end

redis.call('ZREM', pending, member)
redis.call('HSET', versions, document_id, version)
redis.call('HSET', documents, document_id, record)
redis.call('ZADD', ids, 0, document_id)
redis.call('HSET', collection, 'generation', redis.call('INCR', generation), 'model', model, 'model_version', model_version)
if current ~= '' then redis.call('ZADD', garbage, now + grace_ms, uid .. '/' .. current) end
return answered(request, fingerprint, answer)
