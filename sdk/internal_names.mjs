// The names of members that only our own code sees, for build.mjs to shorten.
//
// Found by the compiler, so that no list drifts: a name is ours where every use of it means a member that is declared in
// src, and declared neither for the application (what index.ts exports) nor for others to read (wire.ts).

import ts from "typescript";

export function internalNames(folder) {
  const { config } = ts.readConfigFile(folder + "tsconfig.json", ts.sys.readFile);
  const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, folder);
  const program = ts.createProgram(fileNames, options);
  const checker = program.getTypeChecker();
  const sources = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(folder + "src/"));
  const ours = new Set();
  const others = new Set();

  /** Whether the member is declared by us, and for us alone. */
  const isOurs = (symbol) => {
    const places = symbol?.declarations ?? [];
    return places.length > 0 && places.every((place) => sources.includes(place.getSourceFile()));
  };
  const note = (name, symbol) => (isOurs(symbol) ? ours : others).add(name);

  function visit(node) {
    if (ts.isPropertyAccessExpression(node)) note(node.name.text, checker.getSymbolAtLocation(node.name));
    else if (ts.isElementAccessExpression(node)) {
      // A name that is looked up as a text.
      const type = checker.getTypeAtLocation(node.argumentExpression);
      for (const one of type.isUnion() ? type.types : [type]) if (one.isStringLiteral()) others.add(one.value);
    } else if (ts.isObjectBindingPattern(node)) {
      const type = checker.getTypeAtLocation(node);
      for (const element of node.elements) {
        const name = element.propertyName ?? element.name;
        if (!element.dotDotDotToken) note(name.text, type.getProperty(name.text));
      }
    } else if (ts.isObjectLiteralExpression(node)) {
      // Where nothing says what the object is for, its names say nothing either.
      const type = checker.getContextualType(node);
      for (const property of node.properties) {
        if (!property.name || ts.isComputedPropertyName(property.name)) continue;
        const { text } = property.name;
        // In quotes it is kept.
        if (ts.isStringLiteral(property.name)) others.add(text);
        if (!type) continue;
        const wanted = checker.getNonNullableType(type);
        const symbols = (wanted.isUnion() ? wanted.types : [wanted]).map((one) => one.getProperty(text)).filter(Boolean);
        if (!symbols.length) others.add(text);
        for (const symbol of symbols) note(text, symbol);
      }
    } else if ((ts.isPropertyDeclaration(node) || ts.isPropertySignature(node) || ts.isMethodSignature(node) || ts.isMethodDeclaration(node)) && node.name.text) {
      note(node.name.text, node.symbol);
      if (node.getSourceFile().fileName.endsWith("/wire.ts")) others.add(node.name.text);
    }
    ts.forEachChild(node, visit);
  }
  sources.forEach(visit);

  const index = sources.find(({ fileName }) => fileName.endsWith("/index.ts"));
  for (let symbol of checker.getExportsOfModule(checker.getSymbolAtLocation(index))) {
    if (symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
    for (const { members } of symbol.declarations) members?.forEach((member) => member.name && others.add(member.name.text));
  }
  return [...ours].filter((name) => !others.has(name));
}
