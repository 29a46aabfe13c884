"""The scripts that the store runs: each is one step, done whole or not at all, with nothing in between.

A script takes about a microsecond for each key or field that it touches, and the store answers nobody meanwhile; so
the callers give each a bounded number of them.

A window that a tier lacks is a member ``HOST WINDOW`` of ``pm:open:TIER``, by the time it is due. Who claims it moves
that time into the future, by a lease; what was claimed and not done, because its collector died, is due again then. The
time is also the proof of the claim: whoever comes back to find another one has lost it, and changes nothing.
"""

# KEYS: heads. ARGV: TTL (s) of the set of open windows, a head frame, the data of each head, the identity each must
# have (empty: any, or none), the time (s) at which each expires, the time at which each is due to be sealed. A new head
# begins with the frame, gets its TTL, and is put among the open windows. The answer is the identity in the first frame
# of each; it is empty where the head is another one, and nothing was appended.
APPEND = """
local identities = {}
local n = #KEYS
for i = 1, n do
  local identity = redis.call('GETRANGE', KEYS[i], 12, 19)
  local expected = ARGV[n + i + 2]
  if expected ~= '' and identity ~= expected then
    identity = ''
  elseif identity == '' then
    redis.call('SET', KEYS[i], ARGV[2] .. ARGV[i + 2], 'EXAT', ARGV[2 * n + i + 2])
    identity = string.sub(ARGV[2], 13, 20)
    local host, tier, window = string.match(KEYS[i], '^pm:{(.*)}:([^:]*):([^:]*):head$')
    -- samples that come late find their window, which is about to expire
    redis.call('EXPIREAT', string.sub(KEYS[i], 1, -6), ARGV[2 * n + i + 2])
    redis.call('ZADD', 'pm:open:' .. tier, 'NX', ARGV[3 * n + i + 2], host .. ' ' .. window)
    redis.call('EXPIRE', 'pm:open:' .. tier, ARGV[1])
  else
    redis.call('APPEND', KEYS[i], ARGV[i + 2])
  end
  identities[i] = identity
end
return identities
"""

# KEYS: a set of open windows. ARGV: now (s), the time (s) until which they are claimed, at most how many to look at,
# the length (s) of a window of the tier. Claims what is due the longest, with all others of its host that belong to the
# same window of the tier. Returns the members.
CLAIM = """
local claimed, first = {}, nil
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local host, window = string.match(member, '^(.*) (%d+)$')
  local target = host .. ' ' .. (window - window % ARGV[4])
  first = first or target
  if target == first then
    redis.call('ZADD', KEYS[1], ARGV[2], member)
    claimed[#claimed + 1] = member
  end
end
return claimed
"""

# KEYS: sealing, head, hash. ARGV: 1 to get the hash as well. Takes the head to be sealed, unless one that was taken
# before is still there. Returns what was taken and the fields of the hash.
TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[1])
end
return {redis.call('GET', KEYS[1]), ARGV[1] == '1' and redis.call('HGETALL', KEYS[3]) or {}}
"""

# KEYS: open windows of the tier, sealing, head, hash, open windows of the next tier (if there is one). ARGV: member,
# the time until which it was claimed, when it is due again if its head is there again, when it is due again otherwise
# (empty: never), when the next tier is to take it, TTL (s) of the sets, the time (s) at which the hash expires, 1 to
# replace the hash or 0 to add to its fields, then fields and values in turn. Returns 0, and does nothing, without the
# claim.
SEALED = """
local claim = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not claim or tonumber(claim) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[8] == '1' then redis.call('DEL', KEYS[4]) end
for first = 9, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  if ARGV[8] == '0' then
    local names = {}
    for i = first, last, 2 do names[#names + 1] = ARGV[i] end
    for i, value in ipairs(redis.call('HMGET', KEYS[4], unpack(names))) do
      local place = first + 2 * i - 1
      if value then ARGV[place] = value .. ARGV[place] end
    end
  end
  redis.call('HSET', KEYS[4], unpack(ARGV, first, last))
end
redis.call('DEL', KEYS[2])
local again = redis.call('EXISTS', KEYS[3]) == 1 and ARGV[3] or ARGV[4]
if again == '' then redis.call('ZREM', KEYS[1], ARGV[1]) else redis.call('ZADD', KEYS[1], again, ARGV[1]) end
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('EXPIREAT', KEYS[4], ARGV[7])
  redis.call('ZADD', KEYS[5], ARGV[5], ARGV[1])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
end
return 1
"""

# KEYS: open windows of the tier, its hash, open windows of the next tier (if there is one), then the hashes that were
# rolled up. ARGV: the time until which they were claimed, TTL (s) of the sets, the time (s) at which the hash expires,
# the member to be put among the open windows of the next tier and its time, the revision of the hash from which the
# fields were made (empty: there was none), number of the hashes, for each its member and the time at which it expires
# now, then fields and values in turn. Returns 0, and does nothing, without the claim on all of them, or if somebody
# else has rolled up into the same hash meanwhile; it is then due again at once.
ROLLED = """
local n = tonumber(ARGV[7])
for i = 1, n do
  local claim = redis.call('ZSCORE', KEYS[1], ARGV[6 + 2 * i])
  if not claim or tonumber(claim) ~= tonumber(ARGV[1]) then return 0 end
end
if (redis.call('HGET', KEYS[2], ';revision') or '') ~= ARGV[6] then
  for i = 1, n do redis.call('ZADD', KEYS[1], 0, ARGV[6 + 2 * i]) end
  return 0
end
local from = 8 + 2 * n
if #ARGV >= from then
  redis.call('DEL', KEYS[2])
  for first = from, #ARGV, 1000 do
    redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  redis.call('EXPIREAT', KEYS[2], ARGV[3])
  if ARGV[5] ~= '' then
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
    redis.call('EXPIRE', KEYS[3], ARGV[2])
  end
end
for i = 1, n do
  redis.call('ZREM', KEYS[1], ARGV[6 + 2 * i])
  redis.call('EXPIREAT', KEYS[3 + i], ARGV[7 + 2 * i])
end
return 1
"""

# ARGV: collector, state, reason, time (s) of the change, TTL (s), most events, then host, its latest sign (s) that the
# collector knows of, and the id of its boot (empty: not known) in turn. A host that is there changes to another state
# than up only for the collector that watches it, and not if another has heard it since the latest sign. One that is
# gone can only become absent, and an absent one departed. Up is always taken; who is watched by whom is set with it,
# and a new boot is told of, also of a host that was up. The check, the change and the event are one step, so each
# change is told of once, however many collectors there are. Returns the hosts that changed.
CHANGE = """
local collector, state, reason, at, ttl, most = unpack(ARGV, 1, 6)
local gone = state ~= 'up' and state ~= 'late'
local changed, rebooted = {}, {}
for i = 7, #ARGV, 3 do
  local host, latest, boot = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local meta = 'pm:{' .. host .. '}:meta'
  local before, watcher, booted = unpack(redis.call('HMGET', meta, 'state', 'collector', 'boot'))
  local sign = redis.call('ZSCORE', 'pm:present', host)
  local newest = not sign or tonumber(sign) <= latest
  local anew, changes = false, before ~= state
  if state == 'up' then
    if newest then redis.call('HSET', meta, 'collector', collector) end
    if boot ~= '' then
      redis.call('HSET', meta, 'boot', boot)
      anew = booted and booted ~= boot
    end
  elseif sign then
    changes = changes and watcher == collector and newest
    if gone and watcher == collector and newest then redis.call('ZREM', 'pm:present', host) end
  else
    changes = changes and (state == 'absent' or state == 'departed' and before == 'absent')
  end
  if changes or anew then
    redis.call('HSET', meta, 'state', state, 'since', at, 'reason', anew and 'reboot' or reason)
    redis.call('HSETNX', meta, 'first', at)
    redis.call('EXPIRE', meta, ttl)
    local told = anew and rebooted or changed
    told[#told + 1] = host
  end
end
for _, one in ipairs({{changed, reason}, {rebooted, 'reboot'}}) do
  if #one[1] > 0 then
    redis.call('XADD', 'pm:events', 'MAXLEN', '~', most, '*',
      'kind', state, 'hosts', cjson.encode(one[1]), 'at', at, 'reason', one[2])
    redis.call('EXPIRE', 'pm:events', ttl)
  end
end
for _, host in ipairs(rebooted) do changed[#changed + 1] = host end
return changed
"""

# KEYS: a run. ARGV: field of a host, how the run is there. What has ended (its first letter is F) is not changed any
# more; a run that has expired meanwhile does not come back.
NOTE_RUN = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if (old and old:sub(1, 1) == 'F') or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
"""

# KEYS: a run, the open runs. ARGV: id, what was asked for (as it is known), the same with its start, when it is due
# (s). A run that waits is begun by one collector, and not if it was cancelled meanwhile. Returns 1 if this one did.
START_RUN = """
if redis.call('HGET', KEYS[1], 'spec') ~= ARGV[2] or redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'spec', ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', ARGV[4], ARGV[1])
return 1
"""

# KEYS: collectors, epoch. ARGV: collector, TTL (s), a new epoch. Renews the lease of the collector as of now, by the
# store's own clock. The epoch is that of the data: where there is none, as in a store that was emptied, it is new.
# Returns when the lease was renewed before (empty: there was none), now, the epoch, and all leases.
RENEW = """
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local before = redis.call('ZSCORE', KEYS[1], ARGV[1]) or ''
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'NX')
redis.call('EXPIRE', KEYS[2], ARGV[2])
return {before, now, redis.call('GET', KEYS[2]), redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
"""

# KEYS: collectors. ARGV: collector, a time (s by the store's clock), then host and the collector that watches it in
# turn. The collector takes over those that are there, if the other one has not renewed its lease since that time.
# Returns the hosts taken over.
TAKE_OVER = """
local taken = {}
for i = 3, #ARGV, 2 do
  local host, watcher = ARGV[i], ARGV[i + 1]
  local meta = 'pm:{' .. host .. '}:meta'
  local lease = redis.call('ZSCORE', KEYS[1], watcher)
  if (redis.call('HGET', meta, 'collector') or '') == watcher and redis.call('ZSCORE', 'pm:present', host)
    and not (lease and tonumber(lease) > tonumber(ARGV[2])) then
    redis.call('HSET', meta, 'collector', ARGV[1])
    taken[#taken + 1] = host
  end
end
return taken
"""

# KEYS: meta of a host, events. ARGV: the gap's id, host, time (s), reason, TTL (s), most events. A gap is told of once:
# an agent that did not hear that it was kept tells of it again, before it tells of another.
GAP = """
if redis.call('HGET', KEYS[1], 'gap') == ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'gap', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*',
  'kind', 'gap', 'hosts', cjson.encode({ARGV[2]}), 'at', ARGV[3], 'reason', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""

# KEYS: a hash. ARGV: TTL (s), a new revision, a field, 1 if it must have a certain value now, that value, its new value
# (empty: it is taken out), then other fields. Where that changes something the hash has the new revision. Returns the
# revision before and after, and the other fields.
REVISE = """
local ttl, new, field, bound, expected, value = unpack(ARGV, 1, 6)
local before = redis.call('HGET', KEYS[1], ';revision') or ''
local after = before
local now = redis.call('HGET', KEYS[1], field) or ''
if now ~= value and (bound == '0' or now == expected) then
  after = new
  if value == '' then redis.call('HDEL', KEYS[1], field) else redis.call('HSET', KEYS[1], field, value) end
  redis.call('HSET', KEYS[1], ';revision', after)
end
redis.call('EXPIRE', KEYS[1], ttl)
return {before, after, redis.call('HMGET', KEYS[1], unpack(ARGV, 7))}
"""

# ARGV: hosts. Returns for each: time of its last sign, whether it is present, the fields of its meta hash.
RECORDS = """
local records = {}
for i = 1, #ARGV do
  local present = redis.call('ZSCORE', 'pm:present', ARGV[i]) and 1 or 0
  local seen = redis.call('ZSCORE', 'pm:hosts', ARGV[i])
  records[i] = {seen, present, redis.call('HGETALL', 'pm:{' .. ARGV[i] .. '}:meta')}
end
return records
"""
