<?php
// One large report of so many MiB: a document of libxml, which takes its nodes from malloc. Dropped when the request ends.
$mib = (int)($_GET['mib'] ?? 1);
$document = new DOMDocument();
$root = $document->appendChild($document->createElement('report'));
for ($i = 0; $i < $mib * 3600; $i++) {
    $root->appendChild($document->createElement('row', "value $i"));
}
echo $root->childNodes->length;
