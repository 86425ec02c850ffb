/**
 * The one place where code is made from text. Row views, appenders and row codecs are generated per schema so that
 * each is monomorphic. The texts contain column indexes and column names only, and names are checked identifiers.
 */

/** Evaluates `body` (which must return something) with the given values in scope. */
export function compileCode<T>(name: string, scope: Readonly<Record<string, unknown>>, body: string): T {
  const make = new Function(
    ...Object.keys(scope),
    `'use strict';\n${body}\n//# sourceURL=millrace-generated-${name}.js`,
  );
  return make(...Object.values(scope)) as T;
}
