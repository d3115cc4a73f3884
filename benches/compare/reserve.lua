-- Holds units of one variant: the unit of work that Holdfast does for `POST /api/stock/reservations`.
--
-- KEYS  1 stock of the variant (hash: on_hand, held)   2 idempotency key (string: id of the hold)
--       3 the hold (hash)                              4 deadlines of the variant's holds (sorted set)
-- ARGV  1 id   2 variant   3 quantity   4 customer   5 ttl, ms   6 how long the key is kept, ms
-- Answers {outcome, id, deadline in ms}; outcome is held, repeat, mismatch, sold_out or unknown_variant.

local earlier = redis.call('GET', KEYS[2])
if earlier then
  local hold = redis.call('HMGET', 'hold:' .. earlier, 'variant', 'quantity', 'customer', 'expires_at')
  if hold[1] ~= ARGV[2] or hold[2] ~= ARGV[3] or hold[3] ~= ARGV[4] then
    return {'mismatch', earlier, 0}
  end
  return {'repeat', earlier, tonumber(hold[4])}
end

local stock = redis.call('HMGET', KEYS[1], 'on_hand', 'held')
if not stock[1] then
  return {'unknown_variant', ARGV[1], 0}
end
if tonumber(stock[1]) - tonumber(stock[2]) < tonumber(ARGV[3]) then
  return {'sold_out', ARGV[1], 0}
end

-- From here on the hold is granted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expires_at = now + tonumber(ARGV[5])
redis.call('HINCRBY', KEYS[1], 'held', ARGV[3])
redis.call('HSET', KEYS[3], 'variant', ARGV[2], 'quantity', ARGV[3], 'customer', ARGV[4],
  'created_at', now, 'expires_at', expires_at)
redis.call('ZADD', KEYS[4], expires_at, ARGV[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[6])
return {'held', ARGV[1], expires_at}
