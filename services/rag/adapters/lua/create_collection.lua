local names, collection, generation, stamps, request = unpack(KEYS)
local name, uid, description, create_ms, limit, fingerprint = unpack(ARGV)

local before = earlier(request, fingerprint)
if before then return before end
if redis.call('EXISTS', collection) == 1 then return {'EXISTS'} end
if redis.call('ZCARD', names) >= tonumber(limit) then return {'FULL'} end
local number = redis.call('INCR', generation)
redis.call('ZADD', names, 0, name)
redis.call('HSET', stamps, 'collection/' .. name, number)
redis.call('HSET', collection, 'uid', uid, 'description', description, 'create_ms', create_ms, 'generation', number)
return answered(request, fingerprint, cjson.encode({
  name = name, uid = uid, description = description, create_ms = create_ms, generation = number}))
