-- Charges what an execution used, once. A call that was admitted without a reservation (`unbounded` is '1') is charged to this day
-- and to its principal; any other without one was settled more than an hour ago, and what it tells now is late.
local id, execution, model, input, output, unbounded, principal = unpack(ARGV)
input, output = tonumber(input), tonumber(output)

local call = load_call(id, execution)
if not call then
  if unbounded ~= '1' then return 'LATE' end
  redis.call('HSET', call_key(id), 'key', principal, 'method', '', 'day', day_of(now_s), 'month', month_of(now_s),
    'prices', redis.call('GET', prefix .. ':prices') or '', 'settled', '1')
  call = load_call(id, execution)
end
if call.execution == 'ended' then return 'AGAIN' end

local money = cost_of(call.prices, model, input, output)
append(call, execution, model, input, output, money)
charge(call, input + output, money)
redis.call('HSET', call_key(id), 'x:' .. execution, 'ended')
if call.execution == 'begun' then call.running = call.running - 1 end
if call.unseen and call.unseen ~= '' then
  local left = {}
  for path in string.gmatch(call.unseen, '%S+') do
    if not under(execution, path) then left[#left + 1] = path end
  end
  call.unseen = table.concat(left, ' ')
end
settle_if_over(call)
save_call(call)
return 'OK'
