local collection, ids, documents = unpack(KEYS)
local after, limit = unpack(ARGV)

if redis.call('EXISTS', collection) == 0 then return {'MISSING'} end
local first = after == '' and '-' or '(' .. after
local page = redis.call('ZRANGEBYLEX', ids, first, '+', 'LIMIT', 0, limit)
if #page == 0 then return {'OK', {}} end
return {'OK', redis.call('HMGET', documents, unpack(page))}
