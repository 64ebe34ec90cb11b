-- An execution begins. One that has told its end already, or whose call has no reservation, is let be.
local id, execution = unpack(ARGV)

local call = redis.call('HMGET', call_key(id), 'day', 'x:' .. execution)
if not call[1] or call[2] then return 0 end
redis.call('HSET', call_key(id), 'x:' .. execution, 'begun')
redis.call('HINCRBY', call_key(id), 'running', 1)
return 1
