local collection, ids, documents, versions, pending, garbage, generation, stamps, request = unpack(KEYS)
local name, uid, document_id, version, replaces, record, model, model_version = unpack(ARGV)
local answer, limit, grace_ms, fingerprint = unpack(ARGV, 9)

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
local number = redis.call('INCR', generation)
redis.call('HSET', collection, 'generation', number, 'model', model, 'model_version', model_version)
redis.call('HSET', stamps, 'collection/' .. name, number)
if current ~= '' then redis.call('ZADD', garbage, now + grace_ms, uid .. '/' .. current) end
return answered(request, fingerprint, answer)
