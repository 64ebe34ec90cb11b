-- The call has ended. Paths that have told of an execution already are not waited for.
local id = ARGV[1]

local call = load_call(id, '')
if not call then return 'GONE' end
local told = {}
if #ARGV > 1 then
  local known = redis.call('HGETALL', call_key(id))
  for i = 1, #known, 2 do
    if known[i + 1] == 'ended' and string.sub(known[i], 1, 2) == 'x:' then told[#told + 1] = string.sub(known[i], 3) end
  end
end
local unseen = {}
for i = 2, #ARGV do
  local waits = true
  for _, execution in ipairs(told) do waits = waits and not under(execution, ARGV[i]) end
  if waits then unseen[#unseen + 1] = ARGV[i] end
end
call.closed, call.unseen = '1', table.concat(unseen, ' ')
settle_if_over(call)
save_call(call)
return 'OK'
