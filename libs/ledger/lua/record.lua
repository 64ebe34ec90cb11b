-- Charges what an execution used, once. Where nothing is known of the call, it was admitted without a reservation (`unbounded` is
-- '1'), or it is under way (its deadline is not long past) and Redis has lost its reservation: then this day and its principal are
-- charged. Any other was settled more than a quarter of an hour ago, and what it tells now is late.
local UNDER_WAY_S = 300
local id, execution, model, input, output, unbounded, principal, deadline_s = unpack(ARGV)
input, output = tonumber(input), tonumber(output)

local call = load_call(id, execution)
if not call then
  if unbounded ~= '1' and now_s > tonumber(deadline_s) + UNDER_WAY_S then return 'LATE' end
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
