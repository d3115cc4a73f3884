-- Holds units of one variant: the unit of work that Holdfast does for `POST /api/stock/reservations`.

create table variant (
  id text primary key,
  on_hand bigint not null,
  held bigint not null default 0,
  check (held >= 0),
  check (held <= on_hand)
) with (fillfactor = 50);

-- The idempotency key stands in the hold: one row and one index instead of a second table.
create table hold (
  id uuid primary key,
  key text not null unique,
  variant text not null,
  quantity integer not null,
  customer text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index hold_due on hold (variant, expires_at);

-- One hold. The hot row comes last, so that its lock is held for as short as it can be: until the commit is on the device.
-- Whoever loses a race for a key fails on its uniqueness, is rolled back, asks again and gets the repeat.
create function reserve(
  p_variant text, p_quantity integer, p_key text, p_customer text, p_id uuid, p_ttl_ms bigint,
  out outcome text, out hold_id uuid, out expires_at_ms bigint
) language plpgsql as $$
declare
  earlier hold%rowtype;
  v_now timestamptz := clock_timestamp();
  v_expires_at timestamptz := v_now + p_ttl_ms * interval '1 millisecond';
begin
  select * into earlier from hold where key = p_key;
  if found then
    outcome := case
      when (earlier.variant, earlier.quantity, earlier.customer) = (p_variant, p_quantity, p_customer) then 'repeat'
      else 'mismatch' end;
    hold_id := earlier.id;
    expires_at_ms := extract(epoch from earlier.expires_at) * 1000;
    return;
  end if;
  insert into hold values (p_id, p_key, p_variant, p_quantity, p_customer, v_now, v_expires_at);
  update variant set held = held + p_quantity where id = p_variant and on_hand - held >= p_quantity;
  if not found then
    raise exception 'sold out or unknown: %', p_variant using errcode = 'HF001';
  end if;
  outcome := 'held';
  hold_id := p_id;
  expires_at_ms := extract(epoch from v_expires_at) * 1000;
end $$;

-- Many holds of one unit each of one variant, in one transaction: what waits is gathered by the caller. All or nothing: when
-- there are not enough units for all, the caller asks one by one.
create function reserve_many(
  p_variant text, p_keys text[], p_customers text[], p_ids uuid[], p_ttl_ms bigint
) returns table (outcome text, hold_id uuid, expires_at_ms bigint) language plpgsql as $$
declare
  v_now timestamptz := clock_timestamp();
  v_expires_at timestamptz := v_now + p_ttl_ms * interval '1 millisecond';
  v_fresh bigint;
begin
  insert into hold
    select a.id, a.key, p_variant, 1, a.customer, v_now, v_expires_at
    from unnest(p_ids, p_keys, p_customers) as a (id, key, customer)
    on conflict (key) do nothing;
  get diagnostics v_fresh = row_count;
  if v_fresh > 0 then
    update variant set held = held + v_fresh where id = p_variant and on_hand - held >= v_fresh;
    if not found then
      raise exception 'sold out or unknown: %', p_variant using errcode = 'HF001';
    end if;
  end if;
  if v_fresh = cardinality(p_keys) then
    return query
      select 'held'::text, a.id, (extract(epoch from v_expires_at) * 1000)::bigint
      from unnest(p_ids) with ordinality as a (id, at) order by a.at;
    return;
  end if;
  return query
    select case
        when h.id = a.id then 'held'
        when (h.variant, h.quantity, h.customer) = (p_variant, 1, a.customer) then 'repeat'
        else 'mismatch' end,
      h.id, (extract(epoch from h.expires_at) * 1000)::bigint
    from unnest(p_ids, p_keys, p_customers) with ordinality as a (id, key, customer, at)
    join hold h on h.key = a.key order by a.at;
end $$;
