local flight = KEYS[1]

if redis.call('GET', flight) == ARGV[1] then redis.call('DEL', flight) end
