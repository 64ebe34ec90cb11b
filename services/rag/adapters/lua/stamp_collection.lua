-- Writes the stamp of a collection that has none, or a false one: it is older than stamps are, or they were lost.
local collection, stamps = unpack(KEYS)
local name = ARGV[1]

local number = redis.call('HGET', collection, 'generation')
if number then redis.call('HSET', stamps, 'collection/' .. name, number) end
return {'OK'}
