-- An execution begins. One that has told its end already, or whose call has no reservation, is let be.
local id, execution = unpack(ARGV)

local key = KEYS[1] .. ':call:' .. id
local call = redis.call('HMGET', key, 'day', 'x:' .. execution, 'running')
if not call[1] or call[2] then return 0 end
redis.call('HSET', key, 'x:' .. execution, 'begun', 'running', (call[3] or 0) + 1)
return 1
