/**
 * The metadata of Arrow IPC messages. Every batch of one schema has metadata of the same shape, so the FlatBuffer is
 * built once per schema and only its numbers are patched; a reader compares the shape words and reads the numbers from
 * the same places. Messages of other writers are read through the generated FlatBuffers accessors.
 *
 *     FF FF FF FF | i32 metadata length | FlatBuffer Message, padded to 8 | body
 *
 * Format: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */
import { Builder, ByteBuffer } from 'flatbuffers';
import { MillraceError } from '../errors.js';
import {
  Bool,
  Buffer as BufferStruct,
  Endianness,
  Field,
  FieldNode,
  FloatingPoint,
  Int,
  MessageHeader,
  MetadataVersion,
  Precision,
  RecordBatch,
  RecordBatchMessage,
  SchemaMessage,
  Schema as SchemaTable,
  Timestamp,
  TimeUnit,
  Type,
  Utf8,
} from './generated/org/apache/arrow/flatbuf.js';
import type { ColumnInfo, ColumnType, CompiledSchema } from './schema.js';

const CONTINUATION = -1;
const PREFIX_BYTES = 8;
/** Words of one FieldNode or Buffer struct: two int64. */
export const STRUCT_WORDS = 4;

/** How many Arrow buffers a column has: validity and values, and for strings offsets between them. */
export function buffersOf(type: ColumnType): number {
  return type === 'utf8' ? 3 : 2;
}

/** Where the numbers stand in the metadata of a schema's batches, as indexes of 32-bit words from the message's start. */
export interface MessageLayout {
  /** Prefix and metadata of a batch with all numbers zero. */
  readonly template: Int32Array;
  /** Indexes of the words that are the same in every batch. */
  readonly shapeWords: Int32Array;
  readonly rowsWord: number;
  readonly bodyLengthWord: number;
  readonly nodesWord: number;
  readonly buffersWord: number;
  /** Where the body starts; a multiple of 8. */
  readonly headerBytes: number;
  readonly buffers: number;
}

const layouts = new WeakMap<CompiledSchema, MessageLayout>();

export function messageLayout(schema: CompiledSchema): MessageLayout {
  let layout = layouts.get(schema);
  if (layout === undefined) {
    layout = buildLayout(schema);
    layouts.set(schema, layout);
  }
  return layout;
}

function buildLayout(schema: CompiledSchema): MessageLayout {
  const columns = schema.columns.length;
  const buffers = schema.columns.reduce((sum, c) => sum + buffersOf(c.type), 0);
  const builder = new Builder(1024);
  builder.forceDefaults(true);
  RecordBatch.startBuffersVector(builder, buffers);
  for (let i = 0; i < buffers; i++) BufferStruct.createBuffer(builder, 0n, 0n);
  const bufferVector = builder.endVector();
  RecordBatch.startNodesVector(builder, columns);
  for (let i = 0; i < columns; i++) FieldNode.createFieldNode(builder, 0n, 0n);
  const nodeVector = builder.endVector();
  RecordBatch.startRecordBatch(builder);
  RecordBatch.addLength(builder, 0n);
  RecordBatch.addNodes(builder, nodeVector);
  RecordBatch.addBuffers(builder, bufferVector);
  const batch = RecordBatch.endRecordBatch(builder);
  RecordBatchMessage.startRecordBatchMessage(builder);
  RecordBatchMessage.addVersion(builder, MetadataVersion.V5);
  RecordBatchMessage.addHeaderType(builder, MessageHeader.RecordBatch);
  RecordBatchMessage.addHeader(builder, batch);
  RecordBatchMessage.addBodyLength(builder, 0n);
  builder.finish(RecordBatchMessage.endRecordBatchMessage(builder));

  const bytes = frame(builder.asUint8Array());
  const bb = new ByteBuffer(bytes);
  bb.setPosition(PREFIX_BYTES);
  const message = RecordBatchMessage.getRootAsRecordBatchMessage(bb);
  const header = message.header() as RecordBatch;
  const wordAt = (table: { bb_pos: number }, field: number) =>
    (table.bb_pos + bb.__offset(table.bb_pos, 4 + 2 * field)) / 4;
  const template = new Int32Array(bytes.buffer);
  const rowsWord = wordAt(header, 0);
  const bodyLengthWord = wordAt(message, 3);
  const nodesWord = (header.nodes(0)?.bb_pos ?? 0) / 4;
  const buffersWord = (header.buffers(0)?.bb_pos ?? 0) / 4;
  const numbers = new Set<number>();
  const add = (from: number, words: number) => {
    for (let i = 0; i < words; i++) numbers.add(from + i);
  };
  add(rowsWord, 2);
  add(bodyLengthWord, 2);
  add(nodesWord, columns * STRUCT_WORDS);
  add(buffersWord, buffers * STRUCT_WORDS);
  const shapeWords = Int32Array.from([...template.keys()].filter((i) => !numbers.has(i)));
  return { template, shapeWords, rowsWord, bodyLengthWord, nodesWord, buffersWord, headerBytes: bytes.length, buffers };
}

/** Puts the prefix before a FlatBuffer and zeros after it, up to a multiple of 8. */
function frame(metadata: Uint8Array): Uint8Array<ArrayBuffer> {
  const padded = Math.ceil(metadata.length / 8) * 8;
  const bytes = new Uint8Array(PREFIX_BYTES + padded);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, CONTINUATION, true);
  view.setInt32(4, padded, true);
  bytes.set(metadata, PREFIX_BYTES);
  return bytes;
}

/** Numbers of one record batch. `nodes` holds (length, null count) per column, `buffers` (offset, length) per buffer. */
export interface BatchNumbers {
  readonly rows: number;
  readonly bodyStart: number;
  readonly bodyLength: number;
  readonly nodes: ArrayLike<number>;
  readonly buffers: ArrayLike<number>;
}

/** @throws MillraceError `BATCH_CORRUPT` (corrupt) saying what is wrong. `words` must cover the whole bytes, rounded down. */
export function readBatchNumbers(schema: CompiledSchema, bytes: Uint8Array, words: Int32Array): BatchNumbers {
  const layout = messageLayout(schema);
  if (sameShape(layout, words)) return readOwn(schema, layout, words);
  if (bytes.length < PREFIX_BYTES + 8) throw batchCorrupt(`${bytes.length} bytes are too few for a message`);
  if (words[0] !== CONTINUATION) throw batchCorrupt('no continuation marker');
  const metadataLength = words[1] as number;
  if (metadataLength <= 0 || metadataLength % 8 !== 0 || metadataLength > bytes.length - PREFIX_BYTES) {
    throw batchCorrupt(`metadata of ${metadataLength} bytes in a message of ${bytes.length}`);
  }
  return readForeign(schema, bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + metadataLength));
}

function sameShape(layout: MessageLayout, words: Int32Array): boolean {
  const { template, shapeWords } = layout;
  if (words.length < template.length) return false;
  for (let i = 0; i < shapeWords.length; i++) {
    const word = shapeWords[i] as number;
    if (words[word] !== template[word]) return false;
  }
  return true;
}

function readOwn(schema: CompiledSchema, layout: MessageLayout, words: Int32Array): BatchNumbers {
  return {
    rows: sizeAt(words, layout.rowsWord, 'row count'),
    bodyStart: layout.headerBytes,
    bodyLength: sizeAt(words, layout.bodyLengthWord, 'body length'),
    nodes: readStructs(words, layout.nodesWord, schema.columns.length, 'field node'),
    buffers: readStructs(words, layout.buffersWord, layout.buffers, 'buffer'),
  };
}

function readStructs(words: Int32Array, from: number, count: number, what: string): Float64Array {
  const numbers = new Float64Array(count * 2);
  for (let i = 0; i < numbers.length; i++) numbers[i] = sizeAt(words, from + 2 * i, what);
  return numbers;
}

/** A non-negative int64 below 2^31: no batch is larger. */
function sizeAt(words: Int32Array, word: number, what: string): number {
  const low = words[word] as number;
  if (words[word + 1] !== 0 || low < 0) throw batchCorrupt(`${what} out of range`);
  return low;
}

/**
 * The accessors read a Uint8Array, where a read outside gives undefined, taken as 0: whatever the offsets say, nothing
 * beyond `metadata` is read. Counts are compared with the schema before anything is looped over.
 */
function readForeign(schema: CompiledSchema, metadata: Uint8Array): BatchNumbers {
  const message = RecordBatchMessage.getRootAsRecordBatchMessage(new ByteBuffer(metadata));
  if (message.headerType() !== MessageHeader.RecordBatch) throw batchCorrupt('not a record batch');
  if (message.version() !== MetadataVersion.V5 && message.version() !== MetadataVersion.V4) {
    throw batchCorrupt(`metadata version ${message.version()}`);
  }
  const header = message.header();
  if (header === null) throw batchCorrupt('no record batch header');
  if (header.compression() !== null) throw batchCorrupt('a compressed body is not supported');
  const { columns } = schema;
  const buffers = messageLayout(schema).buffers;
  if (header.nodesLength() !== columns.length || header.buffersLength() !== buffers) {
    const found = `${header.nodesLength()} columns and ${header.buffersLength()} buffers`;
    throw batchCorrupt(`${found}, but the schema has ${columns.length} and ${buffers}`);
  }
  const nodes = columns.flatMap((_, i) => {
    const node = header.nodes(i);
    return [size(node?.length(), 'field node'), size(node?.nullCount(), 'null count')];
  });
  const ranges = Array.from({ length: buffers }, (_, i) => {
    const buffer = header.buffers(i);
    return [size(buffer?.offset(), 'buffer offset'), size(buffer?.length(), 'buffer length')];
  });
  return {
    rows: size(header.length(), 'row count'),
    bodyStart: PREFIX_BYTES + metadata.length,
    bodyLength: size(message.bodyLength(), 'body length'),
    nodes,
    buffers: ranges.flat(),
  };
}

function size(value: bigint | undefined, what: string): number {
  if (value === undefined || value < 0n || value > 0x7fffffffn) throw batchCorrupt(`${what} out of range`);
  return Number(value);
}

export function batchCorrupt(what: string): MillraceError {
  return new MillraceError('corrupt', 'BATCH_CORRUPT', `batch is corrupt: ${what}`);
}

/** What ends an Arrow IPC stream. */
export function endOfStream(): Uint8Array {
  return Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0);
}

/** The Arrow schema message: followed by batches and `endOfStream()`, it makes a stream any Arrow implementation reads. */
export function schemaMessage(schema: CompiledSchema): Uint8Array {
  const builder = new Builder(1024);
  builder.forceDefaults(true);
  const fields = SchemaTable.createFieldsVector(
    builder,
    schema.columns.map((column) => addField(builder, column)),
  );
  SchemaTable.startSchema(builder);
  SchemaTable.addEndianness(builder, Endianness.Little);
  SchemaTable.addFields(builder, fields);
  const header = SchemaTable.endSchema(builder);
  SchemaMessage.startSchemaMessage(builder);
  SchemaMessage.addVersion(builder, MetadataVersion.V5);
  SchemaMessage.addHeaderType(builder, MessageHeader.Schema);
  SchemaMessage.addHeader(builder, header);
  SchemaMessage.addBodyLength(builder, 0n);
  builder.finish(SchemaMessage.endSchemaMessage(builder));
  return frame(builder.asUint8Array());
}

function addField(builder: Builder, column: ColumnInfo): number {
  const name = builder.createString(column.name);
  const children = Field.createChildrenVector(builder, []);
  const [typeByte, type] = addType(builder, column.type);
  Field.startField(builder);
  Field.addName(builder, name);
  Field.addNullable(builder, column.nullable);
  Field.addTypeType(builder, typeByte);
  Field.addType(builder, type);
  Field.addChildren(builder, children);
  return Field.endField(builder);
}

function addType(builder: Builder, type: ColumnType): [typeByte: Type, offset: number] {
  switch (type) {
    case 'bool':
      return [Type.Bool, Bool.createBool(builder)];
    case 'int32':
      return [Type.Int, Int.createInt(builder, 32, true)];
    case 'int64':
      return [Type.Int, Int.createInt(builder, 64, true)];
    case 'float64':
      return [Type.FloatingPoint, FloatingPoint.createFloatingPoint(builder, Precision.DOUBLE)];
    case 'timestamp':
      return [Type.Timestamp, Timestamp.createTimestamp(builder, TimeUnit.MILLISECOND, builder.createString('UTC'))];
    case 'utf8':
      return [Type.Utf8, Utf8.createUtf8(builder)];
  }
}
