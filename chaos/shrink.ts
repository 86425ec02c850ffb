/**
 * ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): the smallest sublist found
 * for which `fails` still holds. The result is 1-minimal unless `attemptsMax` ran out: dropping any one item makes it pass.
 * `fails` must be a function of its argument, and hold for `items`; it should look for the *same* failure.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (items: readonly T[]) => Promise<boolean>,
  options: { readonly attemptsMax?: number } = {},
): Promise<readonly T[]> {
  let attempts = options.attemptsMax ?? Number.POSITIVE_INFINITY;
  const stillFails = (candidate: readonly T[]) => attempts-- > 0 && fails(candidate);
  let current = items;
  if (current.length > 0 && (await stillFails([]))) return [];
  for (let parts = 2; current.length >= 2 && attempts > 0; ) {
    const smaller = await reduce(current, parts, stillFails);
    if (smaller !== undefined) {
      parts = smaller.length === 1 ? 2 : Math.max(2, Math.min(smaller.length, smaller.tookPart ? 2 : parts - 1));
      current = smaller.items;
    } else if (parts >= current.length) {
      break;
    } else {
      parts = Math.min(current.length, parts * 2);
    }
  }
  return current;
}

async function reduce<T>(
  items: readonly T[],
  parts: number,
  fails: (items: readonly T[]) => Promise<boolean> | boolean,
): Promise<{ readonly items: readonly T[]; readonly length: number; readonly tookPart: boolean } | undefined> {
  const cut = (part: number) => Math.floor((part * items.length) / parts);
  if (parts > 2) {
    for (let part = 0; part < parts; part++) {
      const only = items.slice(cut(part), cut(part + 1));
      if (await fails(only)) return { items: only, length: only.length, tookPart: true };
    }
  }
  for (let part = 0; part < parts; part++) {
    const without = [...items.slice(0, cut(part)), ...items.slice(cut(part + 1))];
    if (await fails(without)) return { items: without, length: without.length, tookPart: false };
  }
  return undefined;
}
