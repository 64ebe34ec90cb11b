-- A call never began: gives back what is reserved for it. Where nothing is, its id is remembered for a while: its admission may
-- still be on the way, and then finds that it is gone.
local id, name = unpack(ARGV)

local call = load_call(id, '')
if not call then
  redis.call('HSET', call_key(id), 'settled', '1')
  redis.call('PEXPIRE', call_key(id), SETTLED_TTL_MS)
elseif call.settled ~= '1' and call.running == 0 then
  release(call)
  save_call(call)
end
local flight = prefix .. ':flight:' .. name
if name ~= '' and redis.call('GET', flight) == id then redis.call('DEL', flight) end
return 'OK'
