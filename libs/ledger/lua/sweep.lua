-- Ends leases that are over: how many, and how many of them were charged as reserved.
return {end_leases(tonumber(ARGV[1]))}
