// `node schemas.mjs FOLDER` writes the schemas of zod 3 and 4, TypeBox, Valibot and ts-json-schema-generator to FOLDER.
// Needs, in a folder of its own: npm install zod@4 zod3@npm:zod@3 zod-to-json-schema @sinclair/typebox valibot
// @valibot/to-json-schema ts-json-schema-generator typescript
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import console from "node:console";

const out = {};
const put = (k, f) => {
  try {
    out[k] = JSON.parse(JSON.stringify(f()));
  } catch (e) {
    console.log("skip", k, e.message.slice(0, 100));
  }
};
// zod 4
const { z } = await import("zod");
const make = (z) => {
  const line = z.object({
    description: z.string().min(1),
    quantity: z.number().int().positive(),
    amount: z.number().nonnegative(),
    unit: z.string().nullable(),
    note: z.string().optional(),
  });
  const node = z.object({ name: z.string(), children: z.array(z.lazy(() => node)) });
  return {
    invoice: z.object({
      id: z.string().describe("number"),
      date: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
      email: z.string().email().optional(),
      url: z.string().url().nullable(),
      uuid: z.string().uuid(),
      when: z.string().datetime().optional(),
      ip: z.string().ip ? z.string().ip().optional() : z.ipv4().optional(),
      currency: z.enum(["EUR", "USD"]),
      lines: z.array(line).min(1).max(50),
      tags: z.set ? z.array(z.string()) : z.array(z.string()),
      meta: z.record(z.string(), z.number()),
      pair: z.tuple([z.string(), z.number()]),
      rest: z.tuple([z.string()]).rest(z.number()),
      pay: z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("card"), last4: z.string().length(4) }),
        z.object({ kind: z.literal("iban"), iban: z.string() }),
      ]),
      either: z.union([z.string(), z.number()]),
      any: z.any(),
      unknown: z.unknown(),
      flag: z.boolean().default(false),
      lit: z.literal(5),
      nul: z.null(),
      starts: z.string().startsWith("A").endsWith("Z"),
      inter: z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })),
      cat: z.string().catch("x"),
      neg: z.number().lt(0).optional(),
      big: z.number().min(-1.7976931348623157e308).optional(),
    }),
    node,
    list: z.array(line),
    strict: line.strict(),
    loose: line.passthrough(),
    scalar: z.string(),
    union: z.union([z.object({ a: z.string() }), z.object({ b: z.string() })]),
    nullableRoot: line.nullable(),
  };
};
const s4 = make(z);
for (const [k, v] of Object.entries(s4))
  for (const target of ["draft-2020-12", "draft-7", "draft-4", "openapi-3.0"])
    for (const io of ["input", "output"])
      put(`zod4.${target}.${io}.${k}`, () => z.toJSONSchema(v, { target, io, unrepresentable: "any" }));
put("zod4.duration", () =>
  z.toJSONSchema(
    z.object({
      a: z.iso.duration(),
      b: z.email(),
      c: z.url(),
      d: z.uuid(),
      e: z.iso.datetime(),
      f: z.iso.date(),
      g: z.iso.time(),
      h: z.base64(),
      i: z.cuid2(),
      j: z.ulid(),
      k: z.jwt(),
      l: z.cidrv4(),
      m: z.ipv6(),
      n: z.emoji(),
      o: z.nanoid(),
      p: z.e164(),
      q: z.int32(),
      r: z.float64(),
      s: z.templateLiteral(["a", z.number()]),
      t: z.stringbool().optional(),
    }),
    { unrepresentable: "any" },
  ),
);
const z3m = await import("zod3");
const z3 = z3m.z;
const { zodToJsonSchema } = await import("zod-to-json-schema");
const s3 = make(z3);
for (const [k, v] of Object.entries(s3))
  for (const target of ["jsonSchema7", "jsonSchema2019-09", "openApi3", "openAi"])
    for (const named of [false, true])
      put(`zod3.${target}.${named}.${k}`, () => zodToJsonSchema(v, named ? { name: k, target } : { target }));
for (const $refStrategy of ["root", "relative", "none", "seen"])
  put(`zod3.refs.${$refStrategy}`, () =>
    zodToJsonSchema(z3.object({ a: s3.strict, b: s3.strict, n: s3.node }), { $refStrategy }),
  );
put("zod3.patterns", () =>
  zodToJsonSchema(
    z3.object({
      d: z3.string().duration(),
      e: z3.string().email(),
      b: z3.string().base64(),
      u: z3.string().ulid(),
      n: z3.string().nanoid(),
      r: z3.string().regex(/^(?!0)\d+(?<=5)$/i),
      t: z3.string().time(),
      dt: z3.string().datetime({ offset: true }),
      inc: z3.string().includes("a.b"),
      em: z3.string().emoji(),
    }),
    { applyRegexFlags: true, patternStrategy: "escape", emailStrategy: "pattern:zod" },
  ),
);
const { Type } = await import("@sinclair/typebox");
put("typebox", () =>
  Type.Object(
    {
      id: Type.String({ minLength: 1 }),
      n: Type.Integer({ exclusiveMinimum: 0 }),
      lit: Type.Literal("a"),
      u: Type.Union([Type.Literal("a"), Type.Literal("b")]),
      r: Type.Record(Type.String(), Type.Number()),
      t: Type.Tuple([Type.String(), Type.Number()]),
      o: Type.Optional(Type.Null()),
      nul: Type.Union([Type.String(), Type.Null()]),
      a: Type.Array(Type.Object({ x: Type.Number({ multipleOf: 0.01 }) }), { uniqueItems: true }),
      i: Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.Number() })], {
        unevaluatedProperties: false,
      }),
      any: Type.Any(),
      un: Type.Unknown(),
      d: Type.String({ format: "date" }),
      date: Type.Date(),
      big: Type.BigInt(),
      re: Type.RegExp(/^a/),
      tl: Type.TemplateLiteral("a${string}b"),
      u8: Type.Uint8Array(),
      part: Type.Partial(Type.Object({ z: Type.String() })),
      not: Type.Not(Type.String()),
    },
    { $id: "Invoice" },
  ),
);
put("typebox.rec", () =>
  Type.Recursive((T) => Type.Object({ id: Type.String(), nodes: Type.Array(T) }), { $id: "Node" }),
);
put("typebox.list", () => Type.Array(Type.Object({ a: Type.String() })));
put("typebox.enum", () => {
  const E = { A: 0, B: "b" };
  return Type.Object({ e: Type.Enum(E), k: Type.KeyOf(Type.Object({ x: Type.String(), y: Type.String() })) });
});
const v = await import("valibot");
const { toJsonSchema } = await import("@valibot/to-json-schema");
put("valibot", () =>
  toJsonSchema(
    v.object({
      id: v.pipe(v.string(), v.minLength(1), v.email()),
      n: v.pipe(v.number(), v.integer(), v.minValue(0)),
      o: v.optional(v.string(), "x"),
      nu: v.nullable(v.string()),
      nish: v.nullish(v.number()),
      p: v.picklist(["a", "b"]),
      r: v.record(v.string(), v.number()),
      t: v.tuple([v.string(), v.number()]),
      st: v.strictTuple([v.string()]),
      lt: v.looseTuple([v.string()]),
      u: v.union([v.string(), v.number()]),
      va: v.variant("k", [
        v.object({ k: v.literal("a"), x: v.string() }),
        v.object({ k: v.literal("b"), y: v.number() }),
      ]),
      d: v.pipe(v.string(), v.isoDate()),
      dt: v.pipe(v.string(), v.isoDateTime()),
      re: v.pipe(v.string(), v.regex(/^(?=.*\d).+$/)),
      i: v.intersect([v.object({ a: v.string() }), v.object({ b: v.string() })]),
      any: v.any(),
      l: v.array(v.strictObject({ a: v.string() })),
      uu: v.pipe(v.string(), v.uuid()),
      ur: v.pipe(v.string(), v.url()),
      ip: v.pipe(v.string(), v.ip()),
    }),
    { errorMode: "ignore" },
  ),
);
fs.writeFileSync(
  "types.ts",
  `/** An invoice */
export interface Line { description: string; amount: number; /** @minimum 0 */ quantity?: number; note: string | null; }
export type Pay = { kind: "card"; last4: string } | { kind: "iban"; iban: string };
export enum Cur { EUR = "EUR", USD = "USD" }
export interface Node1 { name: string; children: Node1[]; }
export interface Invoice { id: string; /** @format date */ date: string; lines: Line[]; pay: Pay; cur: Cur; map: Record<string, number>; pair: [string, number]; opt?: [string, number?]; rest: [string, ...number[]]; any: any; un: unknown; part: Partial<Line>; pick: Pick<Line, "amount">; node: Node1; n: null; big: 1 | 2 | "x"; tmpl: \`a\${string}\`; readonly ro: string; map2: { [k: string]: Line }; }
export type Lines = Line[];
`,
);
const tjs = await import("ts-json-schema-generator");
for (const type of ["Invoice", "Line", "Pay", "Node1", "Lines", "*"])
  for (const expose of ["export", "none", "all"])
    put(`ts.${type}.${expose}`, () =>
      tjs
        .createGenerator({ path: "types.ts", type, expose, tsconfig: null, skipTypeCheck: true })
        .createSchema(type),
    );
const NAMES = { zod4: "zod-4", zod3: "zod-3", ts: "ts-json-schema-generator" };
const groups = {};
for (const [name, schema] of Object.entries(out)) {
  const first = name.split(".")[0];
  (groups[NAMES[first] ?? first] ??= {})[name] = schema;
}
for (const [group, schemas] of Object.entries(groups)) {
  fs.writeFileSync(path.join(process.argv[2], `${group}.json`), JSON.stringify(schemas));
}
